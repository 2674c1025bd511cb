//! The cost of the crate over HTTP: a hyper client on loopback, bare and in a stack, each body read to its end:
//! `cargo bench -p benches --bench http`, 5 minutes.
//!
//! The client has one thread and the server another. Rounds take turns (`bare, stack, stack, bare` and so on), and each
//! ratio compares two adjacent rounds, so that other load on the machine affects both. The ratios of adjacent bare rounds
//! show the noise that remains.

use std::{
    fs,
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, runtime, task::JoinSet};
use tower::{Layer, Service, ServiceExt};
use tower_health::{BoxError, FallbackChain, HealthCache, HealthLayer};

const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: usize = 120;

const BODIES: [usize; 2] = [300, 16 * 1024];
const IN_FLIGHT: [usize; 3] = [1, 32, 256];

type Call = Request<Full<Bytes>>;

fn main() {
    println!(
        "| body | in flight | stack | bare, calls/s | stack / bare | bare / bare \
         | p50, µs | p99, µs | client's CPU, µs a call |\n|---|---|---|---|---|---|---|---|---|"
    );
    for body in BODIES {
        let address = serve(vec![b'x'; body].into());
        for in_flight in IN_FLIGHT {
            on_one_thread(compare(&Load::of(address, body, in_flight)));
        }
    }
}

/// The calls of one round.
struct Load {
    call: Call,
    /// The size of each answer's body, in bytes.
    body: usize,
    /// The number of callers, each of which makes one call after the other.
    in_flight: usize,
}

/// The result of one round.
struct Round {
    calls_a_second: f64,
    /// CPU time of the client's thread per call, in seconds.
    cpu_a_call: f64,
    latencies: Vec<Duration>,
}

async fn compare(load: &Load) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // One client, so that all share its connections.
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let cache = HealthCache::default();
    let [first, second] = ["first", "second"].map(|id| cache.provider(id));
    let layered = HealthLayer::http(first.clone()).layer(client.clone());
    let spare = HealthLayer::http(second.clone()).layer(client.clone());
    let chain = FallbackChain::http()
        .entry(first, layered.clone())
        .entry(second, spare);
    let by_hand = tower::service_fn({
        let layered = layered.clone();
        move |call: Call| by_hand(layered.clone(), call)
    });
    print_row("layer", load, &take_turns(&client, &layered, load).await);
    print_row("by hand", load, &take_turns(&client, &by_hand, load).await);
    print_row("chain", load, &take_turns(&client, &chain, load).await);
}

/// The minimum that a chain must do: keep the request, clone the client, and name the provider in the response.
async fn by_hand<S: Service<Call, Response = Response<B>>, B>(
    mut client: S,
    call: Call,
) -> Result<Response<B>, S::Error> {
    let mut answer = client.ready().await?.call(call.clone()).await?;
    drop(call);
    answer.extensions_mut().insert("first");
    Ok(answer)
}

/// Runs rounds of both in turn, and returns them in order.
async fn take_turns<S, B>(
    bare: &Client<HttpConnector, Full<Bytes>>,
    stack: &S,
    load: &Load,
) -> [Vec<Round>; 2]
where
    S: Service<Call, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    // Rounds that open the connections; not counted.
    load.round(bare).await;
    load.round(stack).await;
    let (mut of_bare, mut of_stack) = (Vec::new(), Vec::new());
    for turn in 0..ROUNDS {
        if turn % 2 == 0 {
            of_bare.push(load.round(bare).await);
            of_stack.push(load.round(stack).await);
        } else {
            of_stack.push(load.round(stack).await);
            of_bare.push(load.round(bare).await);
        }
    }
    [of_bare, of_stack]
}

impl Load {
    fn of(address: SocketAddr, body: usize, in_flight: usize) -> Self {
        let call = Request::post(format!("http://{address}/v1/chat/completions"))
            .header(header::AUTHORIZATION, "Bearer 0123456789abcdef")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(r#"{"messages":[{"role":"user","content":"Hello?"}]}"#.into())
            .unwrap();
        Self {
            call,
            body,
            in_flight,
        }
    }

    async fn round<S, B>(&self, client: &S) -> Round
    where
        S: Service<Call, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let callers = (0..self.in_flight)
            .map(|_| calls(client.clone(), self.call.clone(), self.body, began + ROUND));
        let latencies = callers.collect::<JoinSet<_>>().join_all().await.concat();
        let (elapsed, cpu) = (began.elapsed(), cpu_seconds() - cpu);
        let calls = f64::from(u32::try_from(latencies.len()).unwrap());
        Round {
            calls_a_second: calls / elapsed.as_secs_f64(),
            cpu_a_call: cpu / calls,
            latencies,
        }
    }
}

/// Makes one call after the other, each read to the end of its body, and returns their times.
async fn calls<S, B>(mut client: S, call: Call, body: usize, ends: Instant) -> Vec<Duration>
where
    S: Service<Call, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let mut latencies = Vec::new();
    loop {
        let began = Instant::now();
        if began >= ends {
            return latencies;
        }
        let client = client.ready().await.map_err(Into::into).unwrap();
        let response = client.call(call.clone()).await.map_err(Into::into).unwrap();
        let mut frames = response.into_body();
        let mut read = 0;
        while let Some(frame) = frames.frame().await {
            let frame = frame.map_err(Into::into).unwrap();
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        assert_eq!(read, body);
        latencies.push(began.elapsed());
    }
}

/// Returns the CPU time of this thread, or NaN if the system is not Linux.
fn cpu_seconds() -> f64 {
    // Otherwise the count would be that of the scheduler's last tick.
    thread::yield_now();
    let counts = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = counts
        .split(' ')
        .next()
        .and_then(|count| count.parse().ok());
    nanos.unwrap_or(f64::NAN) / 1e9
}

fn print_row(name: &str, load: &Load, [bare, stack]: &[Vec<Round>; 2]) {
    let speed = |round: &Round| round.calls_a_second;
    let cpu = |round: &Round| round.cpu_a_call * 1e6;
    let ratio = |(round, to): (&Round, &Round)| speed(round) / speed(to);
    // The first bare round is adjacent to no other: `bare, stack, stack, bare, bare, stack`.
    let neighbours = bare[1..].chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
    println!(
        "| {} B | {} | {name} | {:.0} | {} | {} | {} | {} | {:.2} → {:.2} |",
        load.body,
        load.in_flight,
        median(bare.iter().map(speed)),
        spread(stack.iter().zip(bare).map(ratio)),
        spread(neighbours.map(ratio)),
        [bare, stack].map(|rounds| latency(rounds, 50)).join(" → "),
        [bare, stack].map(|rounds| latency(rounds, 99)).join(" → "),
        median(bare.iter().map(cpu)),
        median(stack.iter().map(cpu)),
    );
}

/// Formats the median and the quartiles.
fn spread(ratios: impl Iterator<Item = f64>) -> String {
    let ratios = sorted(ratios);
    let [low, median, high] = [25, 50, 75].map(|percent| percentile(&ratios, percent));
    format!("{median:.3} ({low:.3}–{high:.3})")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(&sorted(values), 50)
}

/// Formats a percentile of all calls of these rounds, in microseconds.
fn latency(rounds: &[Round], percent: usize) -> String {
    let all = rounds.iter().flat_map(|round| &round.latencies);
    let micros = sorted(all.map(|latency| latency.as_secs_f64() * 1e6));
    format!("{:.1}", percentile(&micros, percent))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Starts a server on its own thread, which answers every call with this body.
fn serve(body: Bytes) -> SocketAddr {
    let (tell_address, address) = mpsc::channel();
    thread::spawn(move || {
        on_one_thread(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell_address.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let body = body.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = Response::new(Full::new(body.clone()));
                    async { request.collect().await.map(|_| answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
    });
    address.recv().unwrap()
}

fn on_one_thread<F: Future>(work: F) -> F::Output {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}
