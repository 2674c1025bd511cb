//! A scripted server on loopback.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

const END_OF_HEAD: &str = "\r\n\r\n";

/// Serves one request per connection, unless its script keeps the connection.
pub(crate) struct Server {
    address: SocketAddr,
    stage: Arc<Stage>,
    accepting: JoinHandle<()>,
}

/// The actions of a server after the head of a request. After the last one it closes the connection.
#[derive(Clone, Default)]
pub(crate) struct Script(Vec<Act>);

#[derive(Clone)]
enum Act {
    TakeBody,
    Send(Vec<u8>),
    Pause(Duration),
    AwaitCue,
    Reset,
    Hang,
    Keep,
}

struct Stage {
    director: Mutex<Director>,
    /// The bytes that each request has sent so far, in the order of arrival.
    requests: watch::Sender<Vec<String>>,
    cue: Notify,
}

type Director = Arc<dyn Fn(&str) -> Script + Send + Sync>;

impl Server {
    /// Starts a server. `direct` returns the script for the head of each request.
    pub(crate) fn start(direct: impl Fn(&str) -> Script + Send + Sync + 'static) -> Self {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = socket.local_addr().unwrap();
        let stage = Arc::new(Stage {
            director: Mutex::new(Arc::new(direct)),
            requests: watch::Sender::default(),
            cue: Notify::new(),
        });
        let accepting = accept(socket, &stage);
        Self {
            address,
            stage,
            accepting,
        }
    }

    /// Starts a healthy server that answers with its name.
    pub(crate) fn well(name: &'static str) -> Self {
        Self::start(move |_| Script::well(name))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces `direct` for later requests.
    pub(crate) fn becomes(&self, direct: impl Fn(&str) -> Script + Send + Sync + 'static) {
        *self.stage.director.lock().unwrap() = Arc::new(direct);
    }

    /// Breaks all connections, and refuses new ones until `back`.
    pub(crate) async fn is_away_until(&mut self, back: Instant) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        // Reserves the port.
        let socket = bind(self.address);
        sleep_until(back).await;
        self.accepting = accept(socket, &self.stage);
    }

    /// Resumes one script that awaits its cue.
    pub(crate) fn cue(&self) {
        self.stage.cue.notify_one();
    }

    /// The number of requests that have arrived.
    pub(crate) fn requests(&self) -> usize {
        self.stage.requests.borrow().len()
    }

    /// The number of `POST` requests that have arrived.
    pub(crate) fn posts(&self) -> usize {
        let is_post = |request: &&String| request.starts_with("POST ");
        self.stage.requests.borrow().iter().filter(is_post).count()
    }

    /// The bytes that have been read of each request.
    pub(crate) fn all_requests(&self) -> Vec<String> {
        self.stage.requests.borrow().clone()
    }

    /// The bytes that have been read of the last request.
    pub(crate) fn last_request(&self) -> String {
        self.stage.requests.borrow().last().cloned().unwrap()
    }

    /// Waits until this many requests have arrived and the head of each has been read.
    pub(crate) async fn is_reached_by(&self, requests: usize) {
        let is_heard = |request: &String| !request.is_empty();
        let mut heard = self.stage.requests.subscribe();
        let all_heard = heard.wait_for(|all| all.len() >= requests && all.iter().all(is_heard));
        assert_eq!(all_heard.await.unwrap().len(), requests);
    }
}

impl Script {
    /// A short answer of a healthy server.
    pub(crate) fn well(name: &str) -> Self {
        Self::answer("200 OK", &[], &format!("from {name}"))
    }

    /// An answer without a body.
    pub(crate) fn status(line: &str) -> Self {
        Self::answer(line, &[], "")
    }

    /// A complete answer, sent after the complete request.
    pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let length = body.len().to_string();
        let headers = [headers, &[("content-length", &length)]].concat();
        Self(vec![Act::TakeBody]).head(status, &headers).send(body)
    }

    /// The head of a chunked answer.
    pub(crate) fn stream() -> Self {
        Self::default().head("200 OK", &[("transfer-encoding", "chunked")])
    }

    /// The head of a stream of server-sent events.
    pub(crate) fn events() -> Self {
        let headers = [
            ("content-type", "text/event-stream"),
            ("transfer-encoding", "chunked"),
        ];
        Self::default().head("200 OK", &headers)
    }

    pub(crate) fn chunk(self, data: &str) -> Self {
        self.send(format!("{:x}\r\n{data}\r\n", data.len()))
    }

    pub(crate) fn last_chunk(self) -> Self {
        self.send("0\r\n\r\n")
    }

    pub(crate) fn head(self, status: &str, headers: &[(&str, &str)]) -> Self {
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers: String = lines.collect();
        self.send(format!("HTTP/1.1 {status}\r\n{headers}\r\n"))
    }

    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.act(Act::Send(bytes.into()))
    }

    pub(crate) fn pause(self, pause: Duration) -> Self {
        self.act(Act::Pause(pause))
    }

    /// Sends one byte at a time, each after a pause.
    pub(crate) fn drip(self, bytes: &str, pause: Duration) -> Self {
        bytes
            .bytes()
            .fold(self, |dripped, byte| dripped.pause(pause).send([byte]))
    }

    /// Waits for [`Server::cue`].
    pub(crate) fn await_cue(self) -> Self {
        self.act(Act::AwaitCue)
    }

    /// Resets the connection.
    pub(crate) fn reset(self) -> Self {
        self.act(Act::Reset)
    }

    /// Sends nothing more until the client leaves.
    pub(crate) fn hang(self) -> Self {
        self.act(Act::Hang)
    }

    /// Reads another request from the same connection.
    pub(crate) fn keep(self) -> Self {
        self.act(Act::Keep)
    }

    pub(crate) fn then(mut self, rest: Self) -> Self {
        self.0.extend(rest.0);
        self
    }

    fn act(mut self, act: Act) -> Self {
        self.0.push(act);
        self
    }
}

/// Binds the port without listening: connections are refused.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // Earlier connections may still be closing.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn accept(socket: TcpSocket, stage: &Arc<Stage>) -> JoinHandle<()> {
    let listener = socket.listen(1024).unwrap();
    tokio::spawn(Arc::clone(stage).accept(listener))
}

impl Stage {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        // Aborted together with this task.
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stage = Arc::clone(&self);
            // Fails if the client is gone.
            connections.spawn(async move { stage.serve(stream).await });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        while self.answer(&mut stream).await? {}
        Ok(())
    }

    /// Returns whether the connection may carry another request.
    async fn answer(&self, stream: &mut TcpStream) -> io::Result<bool> {
        let number = self.next_request();
        let mut request = Vec::with_capacity(16 * 1024);
        read_until(has_head, &mut request, stream).await?;
        self.heard(number, &request);
        let direct = Arc::clone(&*self.director.lock().unwrap());
        let Script(acts) = direct(&text(&request));
        for act in acts {
            match act {
                Act::TakeBody => {
                    read_until(is_whole, &mut request, stream).await?;
                    self.heard(number, &request);
                }
                Act::Send(bytes) => stream.write_all(&bytes).await?,
                Act::Pause(pause) => sleep(pause).await,
                Act::AwaitCue => self.cue.notified().await,
                Act::Reset => return stream.set_zero_linger().map(|()| false),
                Act::Hang => read_until(|_| false, &mut request, stream).await?,
                Act::Keep => return Ok(true),
            }
        }
        stream.shutdown().await.map(|()| false)
    }

    fn next_request(&self) -> usize {
        let mut number = 0;
        self.requests.send_modify(|all| {
            number = all.len();
            all.push(String::new());
        });
        number
    }

    fn heard(&self, number: usize, request: &[u8]) {
        self.requests.send_modify(|all| all[number] = text(request));
    }
}

async fn read_until(
    is_enough: fn(&str) -> bool,
    request: &mut Vec<u8>,
    stream: &mut TcpStream,
) -> io::Result<()> {
    while !is_enough(&text(request)) {
        if stream.read_buf(request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Data that is not HTTP counts as complete, because it has no head.
fn has_head(request: &str) -> bool {
    let is_http = |first: char| first.is_ascii_uppercase();
    request.contains(END_OF_HEAD) || !request.chars().next().is_none_or(is_http)
}

fn is_whole(request: &str) -> bool {
    let (head, body) = request.split_once(END_OF_HEAD).unwrap_or((request, ""));
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
