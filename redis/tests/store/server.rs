use std::{
    env,
    io::Write,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::FromRedisValue;
use tokio::time::sleep;

/// A server of its own on a free port, without persistence. It is killed on drop.
pub(crate) struct Server {
    program: &'static str,
    address: SocketAddr,
    process: Child,
    settings: Vec<&'static str>,
}

impl Server {
    /// Starts `redis-server`; `None` if there is none.
    ///
    /// With `CI` set, a missing server is a failure.
    pub(crate) async fn start(settings: &[&'static str]) -> Option<Self> {
        Self::start_program("redis-server", settings).await
    }

    pub(crate) async fn start_program(
        program: &'static str,
        settings: &[&'static str],
    ) -> Option<Self> {
        let is_there = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if is_there.is_err() {
            let is_required = env::var_os("CI").is_some();
            assert!(!is_required || program != "redis-server", "no `{program}`");
            // Written past the test harness, which hides what passing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED: a test of tower-health-redis needs `{program}`, which is not installed\n"
            );
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let process = spawn(program, address, settings);
        let server = Self {
            program,
            address,
            process,
            settings: settings.to_vec(),
        };
        server.wait_until_ready().await;
        Some(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills the process and starts an empty one at the same address.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.program, self.address, &self.settings);
        self.wait_until_ready().await;
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid)
            .status();
        assert!(status.unwrap().success());
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_run(command).await.unwrap()
    }

    async fn try_run<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]).query_async(&mut connection).await
    }

    async fn wait_until_ready(&self) {
        for _ in 0..200 {
            match self.try_run::<String>(&["PING"]).await {
                Ok(_) => return,
                // It runs, and wants a password.
                Err(error) if error.to_string().contains("NOAUTH") => return,
                Err(_) => sleep(Duration::from_millis(25)).await,
            }
        }
        panic!("`{}` did not start", self.program);
    }
}

fn spawn(program: &str, address: SocketAddr, settings: &[&str]) -> Child {
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &address.port().to_string()])
        .args(settings)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
