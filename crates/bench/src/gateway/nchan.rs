//! nginx with nchan (Debian's `libnginx-mod-nchan`), started privately: what the gateway is
//! measured beside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use crate::event::SampleEvent;
use crate::http::HttpClient;
use crate::processes::Service;
use crate::servers::{free_ports, target_folder};
use crate::usage::family;

const NGINX: &str = "/usr/sbin/nginx";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// A running nginx.
#[derive(Debug)]
pub struct Nchan {
    service: Service,
    /// Where it listens.
    pub address: SocketAddr,
    client: HttpClient,
}

impl Nchan {
    /// Whether it is installed here.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(NGINX).exists() && Path::new(MODULE).exists()
    }

    /// Starts one with `workers` worker processes; it ends when this is dropped.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(workers: usize) -> anyhow::Result<Self> {
        let folder = target_folder().join("bench").join("nchan");
        std::fs::create_dir_all(&folder)?;
        let [port] = free_ports()?;
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration(&folder, address, workers))?;
        let (prefix, file) = (folder.display().to_string(), file.display().to_string());
        let arguments = ["-e", "stderr", "-p", &prefix, "-c", &file];
        let none: [(&str, &str); 0] = [];
        let mut service =
            Service::start(Path::new(NGINX), &arguments, none, &folder.join("nginx.log"))?;
        service.wait_for_http(address, "/ready", Duration::from_secs(20)).await?;
        Ok(Self { service, address, client: HttpClient::new(format!("http://{address}")) })
    }

    /// Its processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        family(self.service.pid())
    }

    /// Publishes to a channel.
    ///
    /// # Errors
    /// When it does not take the message.
    pub async fn publish(&self, channel: &str, event: &SampleEvent) -> anyhow::Result<()> {
        let reply = self.client.post(&format!("/pub/{channel}"), event.payload()).await?;
        ensure!(reply.status.is_success(), "nchan answered {}", reply.status);
        Ok(())
    }
}

fn configuration(folder: &Path, address: SocketAddr, workers: usize) -> String {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {};\n", path(name).display()))
        .collect();
    let user = if std::env::var("USER").is_ok_and(|user| user != "root") {
        ""
    } else {
        // Its workers may write where this process may.
        "user root;\n"
    };
    format!(
        "{user}load_module {MODULE};\ndaemon off;\npid {};\nworker_processes {workers};\n\
         worker_rlimit_nofile 65536;\nerror_log stderr warn;\n\
         events {{ worker_connections 16000; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 10000000;\n  tcp_nodelay on;\n{temporary}\
         \x20 nchan_shared_memory_size 512M;\n\
         \x20 server {{\n    listen {address} backlog=4096;\n\
         \x20   location = /ready {{ return 204; }}\n\
         \x20   location ~ /pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1;\n\
         \x20     nchan_message_buffer_length 2000; nchan_message_timeout 60s; }}\n\
         \x20   location ~ /sub/(\\w+)$ {{ nchan_subscriber websocket; nchan_channel_id $1;\n\
         \x20     nchan_subscriber_first_message newest; }}\n\
         \x20 }}\n}}\n",
        path("nginx.pid").display()
    )
}
