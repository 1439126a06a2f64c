//! nginx over TLS, with an authority of its own, that wants to know who asks.

use std::fs;
use std::process::Child;

use tempfile::TempDir;

use crate::files::launch;
use crate::support::client::get;
use crate::support::redis_groups::Papers;
use crate::support::reply::Reply;
use crate::support::yaml::all_to_url;
use crate::support::{free_port, until};

struct Nginx {
    port: u16,
    child: Child,
    papers: Papers,
    _directory: TempDir,
}

impl Nginx {
    /// Its certificate is that of `localhost`; whoever shows none of the same authority is refused.
    async fn start() -> Self {
        let papers = Papers::new();
        for _ in 0..5 {
            let (directory, port) = (TempDir::new().unwrap(), free_port());
            fs::write(directory.path().join("nginx.conf"), configuration(port, &papers)).unwrap();
            let mut child = launch(&directory);
            let up = until("nginx listens", async || {
                if child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok().then_some(true)
            });
            if up.await {
                return Self { port, child, papers, _directory: directory };
            }
        }
        panic!("nginx found no free port in five attempts");
    }

    /// What a Larder that knows this much of TLS gets.
    async fn through(&self, tls: &str) -> Reply {
        let url = format!("https://127.0.0.1:{}", self.port);
        let yaml = all_to_url(&url).origin(&format!("tls: {{ {tls} }}"));
        let larder = yaml.start().await;
        let reply = get(larder.url("/")).await;
        if reply.status == 200 {
            get(larder.url("/")).await.is("HIT", "L1");
        }
        reply
    }

    fn file(&self, name: &str) -> String {
        self.papers.file(name).display().to_string()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }
}

fn configuration(port: u16, papers: &Papers) -> String {
    let file = |name| papers.file(name).display().to_string();
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
           access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
           server {{\n\
             listen 127.0.0.1:{port} ssl http2;\n\
             ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;\n\
             location / {{ add_header Cache-Control max-age=60; return 200 \"$ssl_server_name $server_protocol $ssl_client_s_dn\"; }}\n\
           }}\n\
         }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
    )
}

#[tokio::test]
async fn an_https_origin_is_believed_and_believes_by_the_certificates_that_the_file_names() {
    let nginx = Nginx::start().await;
    let ca = format!("ca: \"{}\"", nginx.file("ca.pem"));
    let name = "server_name: localhost";
    let own = format!(
        "certificate: \"{}\", key: \"{}\"",
        nginx.file("client.pem"),
        nginx.file("client.key")
    );
    nginx.through(name).await.is_problem(502);
    nginx.through(&ca).await.is_problem(502);
    let refused = nginx.through(&format!("{ca}, {name}")).await;
    assert!(refused.text().contains("No required SSL certificate was sent"), "{refused:?}");
    let reply = nginx.through(&format!("{ca}, {name}, {own}")).await;
    reply.has_status(200).says("localhost HTTP/2.0 CN=larder");
}

#[tokio::test]
async fn certificates_that_are_none_are_told_at_the_start() {
    let papers = Papers::new();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("larder.yaml");
    let path = |name| papers.file(name).display().to_string();
    for (tls, said) in [
        (
            format!("ca: \"{}\"", path("missing.pem")),
            "missing.pem: it cannot be read: there is none; name a file",
        ),
        (
            format!("ca: \"{}\"", path("server.key")),
            "there is no certificate in it; name a PEM file",
        ),
        (
            format!("certificate: \"{}\", key: \"{}\"", path("client.pem"), path("server.key")),
            "the key in it is not the certificate's; name the key that",
        ),
    ] {
        let yaml = all_to_url("https://127.0.0.1:1").origin(&format!("tls: {{ {tls} }}"));
        fs::write(&file, yaml.text()).unwrap();
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let output = crate::support::larder::run(directory.path(), &arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{tls}: {errors}");
        assert!(errors.contains(said), "{tls}: {errors}");
    }
}
