//! The cost of following a body to its end: streams of 100 chunks over loopback, through one hyper client, with and without
//! the layer.

use std::{
    convert::Infallible,
    hint::black_box,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Body, Bytes, Frame},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, runtime::Builder};
use tower::{Layer, Service, ServiceExt};
use tower_health::{BoxError, HealthCache, HealthLayer};

const CHUNKS: u64 = 100;
const CHUNK: &[u8] = &[b'x'; 1024];

fn streams(criterion: &mut Criterion) {
    // One thread, so that scheduling is not measured.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let address = runtime.block_on(serve());
    let uri: Uri = format!("http://{address}/").parse().unwrap();
    let bare = {
        let _runtime = runtime.enter();
        Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>()
    };
    let layer = HealthLayer::http(HealthCache::default().provider("upstream"));
    let health = layer.layer(bare.clone());

    let mut group = criterion.benchmark_group("a stream of 100 chunks");
    group.throughput(Throughput::Bytes(CHUNKS * CHUNK.len() as u64));
    group.measurement_time(Duration::from_secs(8));
    group.bench_function("bare", |bencher| {
        bencher.iter(|| runtime.block_on(read(bare.clone(), uri.clone())));
    });
    group.bench_function("tower-health", |bencher| {
        bencher.iter(|| runtime.block_on(read(health.clone(), uri.clone())));
    });
    group.finish();
}

async fn read<S, B>(client: S, uri: Uri)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    let response = client.oneshot(request).await.map_err(Into::into).unwrap();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        black_box(frame.map_err(Into::into).unwrap());
    }
}

async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let answer = service_fn(|_| async {
                Ok::<_, Infallible>(Response::new(Chunks { left: CHUNKS }))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

/// A body of this many chunks, each ready at once.
struct Chunks {
    left: u64,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(CHUNK)))))
    }
}

criterion_group!(benches, streams);
criterion_main!(benches);
