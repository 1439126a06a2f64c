"""What the load tests share: processes on cores, an origin, wrk, and the CPU time and memory of servers.

Linux only. Everything is on loopback, and every process that was started is ended by its id.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER_CORE, LOAD_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")

# What was started and is still to be ended.
running = []

# nginx's workers would leave root's identity, and could then not read a directory of root's.
NGINX_USER = "user root;" if os.geteuid() == 0 else ""

# wrk runs this: one line of JSON at the end.
LUA_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'JSON {"requests": %d, "us": %d, "p50": %d, "p99": %d, "p999": %d, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""

# And this where there are many URLs, prepared beforehand: one after another, or by Zipf's law (the first URL is asked
# for most, the n-th a n-th part as often), drawn from a seed that is the same each time.
LUA_MANY = """
local urls, zipf, path, n, prepared, drawn = URLS, ZIPF, "PATH", 0, {}, {}
function init(args)
  for i = 1, urls do prepared[i] = wrk.format("GET", path .. "?n=" .. i) end
  if not zipf then return end
  math.randomseed(1)
  local sums, sum = {}, 0
  for i = 1, urls do sum = sum + 1 / i; sums[i] = sum end
  for k = 1, 65536 do
    local wanted, low, high = math.random() * sum, 1, urls
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < wanted then low = middle + 1 else high = middle end
    end
    drawn[k] = low
  end
end
function request()
  if zipf then n = n % 65536 + 1; return prepared[drawn[n]] end
  n = n % urls + 1
  return prepared[n]
end
"""

# And this where there are more than should be prepared: one after another from BEGIN on.
LUA_COUNT = """
local n = BEGIN
function request()
  n = n % URLS + 1
  return "GET /x?n=" .. n .. " HTTP/1.1\\r\\nHost: larder.example\\r\\n\\r\\n"
end
"""

ORIGIN_CONF = """
daemon off; worker_processes 1; pid {dir}/origin.pid; error_log {dir}/origin.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/o1; proxy_temp_path {dir}/o2;
  fastcgi_temp_path {dir}/o3; uwsgi_temp_path {dir}/o4; scgi_temp_path {dir}/o5;
  types {{ }} default_type text/plain; keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port};
    location = /status {{ stub_status; }}
    location /pass/ {{ root {dir}/www; rewrite ^ /body break; add_header Cache-Control "no-store"; }}
    location /vary/ {{ root {dir}/www; rewrite ^ /body break; add_header Cache-Control "max-age=3600"; add_header Vary "Accept-Encoding"; }}
    location / {{ root {dir}/www; rewrite ^ /body break; add_header Cache-Control "max-age=3600"; }}
  }}
}}
"""

LARDER_CONF = """
listen: 127.0.0.1:0
workers: 1
admin: {{ listen: 127.0.0.1:0 }}
origins: {{ api: {{ endpoints: [ "http://127.0.0.1:{origin}" ] }} }}
l1: {{ capacity: {capacity}, max_object: 4MiB }}
l2: none
routes:
  - {{ name: all, match: {{ path: "/**" }}, origin: api }}
log: {{ access: false }}
"""


def fail(text):
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def find(program, package):
    """The program's path, or None. Installs the Debian package where that is possible without a question."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if found := shutil.which(program, path=path):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], **quiet, check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], env=environment, **quiet, check=False)
        if found := shutil.which(program, path=path):
            return found
    return None


def require(program, package):
    """The program's path; says what is missing where it is."""
    return find(program, package) or fail(f"{program} is missing: apt-get install {package} (as root)")


class Server:
    """A process on a core of its own group, ended by its id."""

    def __init__(self, name, core, command, **options):
        self.name = name
        self.port = None
        self.process = subprocess.Popen(["taskset", "-c", core, *command], stdin=subprocess.DEVNULL, start_new_session=True, **options)

    def pids(self):
        """The process and its children: taskset replaces itself, nginx has workers."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                queue += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                pass
        return found

    def cpu_seconds(self):
        """User and system time of all its processes, threads included."""
        ticks = 0
        for pid in self.pids():
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(after_name[11]) + int(after_name[12])
        return ticks / TICK

    def memory_mib(self):
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def keep_awake(core):
    """Something that runs on a core whenever nothing else does: waking a core that sleeps can take longer than a server
    takes to answer."""
    spin = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    running.append(Server("awake", core, [sys.executable, "-c", spin]))


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait_for(server, port):
    """Waits until somebody listens, and remembers the port."""
    server.port = port
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            fail(f"{server.name} ended before it was ready")
        if is_open(port):
            return
        time.sleep(0.02)
    fail(f"{server.name} does not listen")


def start_nginx(nginx, name, core, directory, text, port):
    file = directory / f"{name}.conf"
    file.write_text(text)
    server = Server(name, core, [nginx, "-p", str(directory), "-c", str(file), "-e", str(directory / f"{name}.log")])
    running.append(server)
    wait_for(server, port)
    return server


def start_origin(nginx, directory, body, core=LOAD_CORE):
    """An nginx that gives one body for every path."""
    (directory / "www").mkdir(exist_ok=True)
    (directory / "www" / "body").write_bytes(body)
    port = free_port()
    return start_nginx(nginx, "origin", core, directory, NGINX_USER + ORIGIN_CONF.format(dir=directory, port=port), port)


def start_larder(binary, directory, text, prefix=()):
    """A Larder on the server's core, which knows both of its ports; `prefix` runs it under another program."""
    file, said = directory / "larder.yaml", directory / "larder.log"
    file.write_text(text)
    with said.open("w") as log:
        server = Server("larder", SERVER_CORE, [*prefix, binary, "serve", "--config", str(file)], stdout=subprocess.DEVNULL, stderr=log)
    running.append(server)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        ports = {}
        for line in said.read_text().splitlines(keepends=True):
            for kind in ("listening", "admin"):
                if line.startswith(f"larder: {kind} on http://") and line.endswith("\n"):
                    ports[kind] = int(line.strip().rstrip("/").rpartition(":")[2])
        if len(ports) == 2:
            server.port, server.admin = ports["listening"], ports["admin"]
            return server
        time.sleep(0.02)
    fail(f"larder did not start:\n{said.read_text()}")


def start_ready(traffic, directory):
    """What answers everything with the body that the origin has, and looks at nothing."""
    server = Server("ready-made", SERVER_CORE, [traffic, "ready", str(directory / "www" / "body")], stdout=subprocess.PIPE, text=True)
    running.append(server)
    server.port = int(server.process.stdout.readline() or fail("the ready-made answers did not start"))
    return server


def path_of(urls, n):
    return "/x" if urls == 1 else f"/x?n={n}"


def fill(server, urls, expected, is_hit=lambda response: response.getheader("X-Cache") == "HIT"):
    """Asks for every URL twice, and insists that the second answer is a hit with the origin's own body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for turn in range(2):
        for n in range(1, urls + 1):
            connection.request("GET", path_of(urls, n))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or body != expected:
                fail(f"{server.name} answers {response.status} and {len(body)} bytes instead of the origin's {len(expected)}")
            if turn == 1 and not is_hit(response):
                fail(f"{server.name} answers {response.getheader('X-Cache')} instead of HIT")
    connection.close()


def count_script(directory, urls, begin=0):
    """For wrk: `urls` URLs in turn."""
    file = directory / "count.lua"
    file.write_text(LUA_DONE + LUA_COUNT.replace("URLS", str(urls)).replace("BEGIN", str(begin)))
    return file


def fill_fast(server, directory, urls):
    """Asks for each of many URLs once, over many connections."""
    asked = 0
    while asked < urls:
        # What was on its way at the end of a turn is asked for again in the next.
        asked += drive(server, count_script(directory, urls, asked), 64, 2)["requests"]


def origin_requests(port):
    _, text = get(port, "/status")
    return int(text.split()[9])


def drive(server, script, connections, seconds, path="/x"):
    """One turn of wrk; returns its figures, with the server's CPU for each request."""
    cpu = server.cpu_seconds()
    command = ["taskset", "-c", LOAD_CORE, require("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{server.port}{path}"]
    output = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    cpu = server.cpu_seconds() - cpu
    figures = json.loads(next(line for line in output.splitlines() if line.startswith("JSON "))[5:])
    if figures["errors"] or not figures["requests"]:
        fail(f"{server.name}: {figures['errors']} errors among {figures['requests']} requests")
    return {**figures, "rps": figures["requests"] / (figures["us"] / 1e6), "cpu": cpu * 1e6 / figures["requests"]}


def drive_steadily(server, traffic, rate, connections, seconds, path="/x"):
    """One turn at a fixed rate, whether or not earlier requests were answered; returns times since each was due."""
    cpu = server.cpu_seconds()
    words = {"--path": path, "--rate": rate, "--connections": connections, "--seconds": seconds}
    command = ["taskset", "-c", LOAD_CORE, traffic, "steady", f"127.0.0.1:{server.port}", *(str(word) for pair in words.items() for word in pair)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        fail(f"{server.name}: {done.stderr.strip()}")
    figures = json.loads(done.stdout)
    return {**figures, "cpu": (server.cpu_seconds() - cpu) * 1e6 / figures["requests"]}


def plot(title, what, bars):
    """A bar for each name, as a diagram that Markdown shows."""
    names = ", ".join(f'"{name}"' for name in bars)
    values = ", ".join(f"{value:.2f}" for value in bars.values())
    print(f'```mermaid\nxychart-beta\n    title "{title}"\n    x-axis [{names}]\n    y-axis "{what}" 0 --> {max(bars.values()) * 1.1:.2f}\n    bar [{values}]\n```\n', flush=True)


def drive_hits(server, script, origin, connections, seconds):
    """A turn in which the origin was asked was no load of hits, and ends the run."""
    seen = origin_requests(origin)
    figures = drive(server, script, connections, seconds)
    asked = origin_requests(origin) - seen - 1
    if asked > 0:
        fail(f"{server.name}: {asked} requests to the origin; this was no load of hits")
    return figures


def version_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "unknown")


def machine():
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    return f"{model}, Linux {os.uname().release}"


def built(named, path, *what):
    """The binary that was named, or else the release one, built of what is here."""
    if named:
        return str(Path(named).absolute())
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", *what], cwd=ROOT, stdin=subprocess.DEVNULL, check=True)
    return str((ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / path).absolute())


def binary_to_test(options):
    return built(options.larder, "larder")


def traffic_to_drive(options):
    """The example `traffic`, which asks at a fixed rate."""
    return built(options.traffic, "examples/traffic", "--example", "traffic")


def within(parser, options, bounds):
    for name, (least, most) in bounds.items():
        if not least <= getattr(options, name) <= most:
            parser.error(f"--{name} must lie between {least} and {most}")


def end_all():
    while running:
        running.pop().end()


@contextmanager
def house():
    """Two directories, one of them in memory; whatever was started is ended."""
    if len(os.sched_getaffinity(0)) < 2:
        fail("two cores are needed: one for the server, one for the load")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="larder-load-") as directory, tempfile.TemporaryDirectory(prefix="larder-load-", dir=in_memory) as shm:
        try:
            yield Path(directory), Path(shm)
        except KeyboardInterrupt:
            sys.exit(1)
        finally:
            end_all()
