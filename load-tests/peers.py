"""The other caches beside which Larder is measured, each as those who know it well would set it up for hits.

One worker or thread, pinned to the server's core by whoever starts it; everything that a hit needs is in memory; no
access log.
"""

import shutil
import time

import harness

# What one would write who knows nginx well: everything that a hit needs is in memory, files stay open, no log.
NGINX_CONF = """
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {dir}/nginx.pid; error_log {dir}/nginx.log; {user}
events {{ worker_connections 1024; multi_accept on; use epoll; }}
http {{
  access_log off; client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2;
  fastcgi_temp_path {dir}/n3; uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 300s;
  open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
  proxy_cache_path {shm}/cache levels=1:2 keys_zone=hits:64m max_size=1g inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache hits; proxy_cache_key $scheme$host$request_uri; proxy_cache_lock on;
      add_header X-Cache $upstream_cache_status;
    }}
    location /pass/ {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache hits; proxy_cache_key $scheme$host$request_uri;
    }}
  }}
}}
"""


# One thread, the cache in memory, connections to the origin reused, and no log.
HAPROXY_CONF = """
global
  nbthread 1
  maxconn 2000
  tune.maxaccept 64
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout client 300s
  timeout server 30s
  timeout connect 5s
  timeout http-keep-alive 300s
cache hits
  total-max-size 1024
  max-object-size 4194304
  max-age 3600
frontend clients
  bind 127.0.0.1:{port}
  http-request cache-use hits
  http-response cache-store hits
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin}
"""

VARNISH_CONF = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_deliver {{
  if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} else {{ set resp.http.X-Cache = "MISS"; }}
}}
"""

TRAFFIC_RECORDS = """
CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.cache.threads_per_disk INT 1
CONFIG proxy.config.cache.ram_cache.size INT 1073741824
CONFIG proxy.config.cache.ram_cache_cutoff INT 8388608
CONFIG proxy.config.cache.min_average_object_size INT 4000
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.http.insert_response_via_str INT 0
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 300
CONFIG proxy.config.http.transaction_no_activity_timeout_in INT 300
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.net.connections_throttle INT 2000
CONFIG proxy.config.output.logfile STRING {dir}/traffic.out
"""


class Missing(Exception):
    """A system that is not there, or does not start; the text says why."""


def started(name, command, port, directory, **options):
    with (directory / f"{name}.log").open("w") as log:
        server = harness.Server(name, harness.SERVER_CORE, command, stdout=log, stderr=log, **options)
    harness.running.append(server)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.process.poll() is None:
        if harness.is_open(port):
            server.port = port
            return server
        time.sleep(0.05)
    raise Missing(f"{name} does not start: {(directory / f'{name}.log').read_text()[-400:]}")


def program(name, package):
    return harness.find(name, package) or raise_missing(f"{name} is not installed: apt-get install {package} (as root)")


def raise_missing(text):
    raise Missing(text)


def nginx(directory, shm, origin):
    found, port = program("nginx", "nginx"), harness.free_port()
    text = NGINX_CONF.format(dir=directory, shm=shm, port=port, origin=origin, user=harness.NGINX_USER)
    return harness.start_nginx(found, "nginx", harness.SERVER_CORE, directory, text, port), harness.version_of(found, "-v").rpartition("/")[2]


def haproxy(directory, shm, origin):
    found, port = program("haproxy", "haproxy"), harness.free_port()
    file = directory / "haproxy.cfg"
    file.write_text(HAPROXY_CONF.format(port=port, origin=origin))
    return started("haproxy", [found, "-db", "-q", "-f", str(file)], port, directory), harness.version_of(found, "-v").split()[2]


def varnish(directory, shm, origin):
    found, port = program("varnishd", "varnish"), harness.free_port()
    file = directory / "varnish.vcl"
    file.write_text(VARNISH_CONF.format(origin=origin))
    settings = {"thread_pools": 1, "thread_pool_min": 100, "thread_pool_max": 200, "timeout_idle": 300, "default_ttl": 3600}
    parameters = [word for name, value in settings.items() for word in ("-p", f"{name}={value}")]
    command = [found, "-F", "-j", "none", "-n", str(shm / "varnish"), "-a", f"127.0.0.1:{port}", "-f", str(file), "-s", "malloc,1g", *parameters]
    return started("varnish", command, port, directory), harness.version_of(found, "-V").split("varnish-")[1].split()[0]


def trafficserver(directory, shm, origin):
    found, port, home = program("traffic_server", "trafficserver"), harness.free_port(), shm / "traffic"
    settings = home / "etc"
    shutil.copytree("/etc/trafficserver", settings, ignore=shutil.ignore_patterns("trafficserver-release"))
    places = {"sysconfdir": settings}
    for place in ("localstatedir", "runtimedir", "logdir", "cachedir"):
        places[place] = home / place
        places[place].mkdir()
    (home / "runroot.yaml").write_text("".join(f"{name}: {path}\n" for name, path in {"prefix": "/usr", "exec_prefix": "/usr", "bindir": "/usr/bin", "sbindir": "/usr/sbin", "libdir": "/usr/lib", **places}.items()))
    (settings / "records.config").write_text(TRAFFIC_RECORDS.format(port=port, dir=directory))
    (settings / "storage.config").write_text(f"{places['cachedir']} 768M\n")
    (settings / "remap.config").write_text(f"map http://127.0.0.1:{port}/ http://127.0.0.1:{origin}/\n")
    server = started("trafficserver", [found, f"--run-root={home}/runroot.yaml"], port, directory)
    # It listens before its cache is ready.
    time.sleep(2)
    return server, harness.version_of(found, "-V").split()[2]


PEERS = {"nginx": nginx, "haproxy": haproxy, "varnish": varnish, "trafficserver": trafficserver}
