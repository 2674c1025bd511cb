//! A Redis server for one test.

use std::{
    env,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};

pub struct Server(Child);

/// Starts a server, and returns it with its URL; `None` if `redis-server` is not installed. With `CI` set, that is a failure.
pub async fn start() -> Option<(Server, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", ""])
        .args(["--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn();
    let Ok(server) = server else {
        assert!(env::var_os("CI").is_none(), "no `redis-server`");
        // Written past the test harness, which hides what passing tests print.
        let skipped =
            "\nSKIPPED: a test of the gateway needs `redis-server`, which is not installed\n";
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return None;
    };
    let server = Server(server);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .is_err()
    {
        sleep(Duration::from_millis(20)).await;
    }
    Some((server, format!("redis://127.0.0.1:{port}")))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
