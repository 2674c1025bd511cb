//! A run of one seed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Display,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    runtime::Handle,
    select,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tower_health::{Exhausted, HealthCache, ProbeHandle, State, Transition, Transitions};

use crate::{
    MILLISECOND, SECOND,
    caller::{Outcome, call},
    chain::{self, Chain, NAMES, RECOVERY, TIMEOUT},
    faults::{self, millis, path},
    server::Server,
};

/// The time between the starts of two calls.
const PACE: Duration = Duration::from_millis(10);

/// Most tasks beside those of calls in flight: for idle connections, servers, checks, and calls that have just ended.
/// If each call left a task behind, this limit would be exceeded within three seconds.
const OTHER_TASKS: usize = 300;

pub(crate) async fn chaos(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let trials = rng.u32(1..=3);
    let exhausted = rng
        .choice([
            Exhausted::Fail,
            Exhausted::LastResort,
            Exhausted::Wait(300 * MILLISECOND),
        ])
        .unwrap();
    let servers = NAMES.map(faults::well);
    let tested = chain::build(&servers, trials, exhausted);
    let mut run = Run::new(seed, rng.fork(), tested);
    run.log(format_args!("{trials} trials, {exhausted:?}"));

    let mut playing = JoinSet::new();
    for (name, server) in NAMES.into_iter().zip(servers) {
        let plan = faults::draw(&mut rng);
        run.log(format_args!("{name}: {plan:?}"));
        playing.spawn(faults::play(server, name, plan));
    }
    let servers = run.during(playing.join_all()).await;
    let over = Instant::now();
    run.log(format_args!("all are well: {:?}", run.outcomes));
    assert!(!run.states.is_empty(), "not one has been open");

    run.callers_walk_away = false;
    // Calls in flight may still fail.
    run.during(sleep(TIMEOUT)).await;
    while !run.has_recovered().await {
        let limit = RECOVERY + run.slack();
        assert!(over.elapsed() <= limit, "{:?} after {limit:?}", run.cache);
    }
    run.log("all are closed");

    run.end().await;
    servers.iter().for_each(assert_asked_once);
}

/// Steady load, and what is observed of it.
struct Run {
    seed: u64,
    began: Instant,
    rng: Rng,
    chain: Chain,
    probe: ProbeHandle,
    paces: Interval,
    most_late: Duration,
    callers_walk_away: bool,
    calls: JoinSet<Outcome>,
    next_call: usize,
    outcomes: BTreeMap<Outcome, usize>,
    cache: HealthCache,
    transitions: Transitions,
    /// The states according to the transitions.
    states: HashMap<Arc<str>, State>,
    seconds: Interval,
}

impl Run {
    fn new(seed: u64, rng: Rng, tested: (HealthCache, Chain, ProbeHandle)) -> Self {
        let (cache, chain, probe) = tested;
        let mut paces = interval(PACE);
        paces.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            seed,
            began: Instant::now(),
            rng,
            probe,
            paces,
            most_late: Duration::ZERO,
            callers_walk_away: true,
            calls: JoinSet::new(),
            next_call: 0,
            outcomes: BTreeMap::new(),
            transitions: cache.subscribe(),
            states: HashMap::new(),
            seconds: interval(SECOND),
            cache,
            chain,
        }
    }

    async fn during<T>(&mut self, time: impl Future<Output = T>) -> T {
        let mut time = pin!(time);
        loop {
            select! {
                output = &mut time => return output,
                due = self.paces.tick() => self.begin_a_call(due),
                Some(ended) = self.calls.join_next() => self.call_ended(ended.unwrap()),
                Some(transition) = self.transitions.recv() => self.hear(&transition),
                _ = self.seconds.tick() => self.assert_few_tasks(),
            }
        }
    }

    fn begin_a_call(&mut self, due: Instant) {
        self.most_late = self.most_late.max(due.elapsed());
        let call = call(self.chain.clone(), format!("/{}", self.next_call));
        self.next_call += 1;
        let walks_away = self.callers_walk_away && self.rng.u8(..4) == 0;
        let patience = walks_away.then(|| millis(&mut self.rng, 0..300));
        self.calls.spawn(async move {
            match patience {
                None => call.await,
                Some(patience) => timeout(patience, call).await.unwrap_or(Outcome::WalkedAway),
            }
        });
    }

    fn call_ended(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn hear(&mut self, transition: &Transition) {
        self.log(transition);
        let provider = Arc::clone(&transition.provider);
        let before = self.states.insert(provider, transition.to);
        assert_eq!(transition.from, before.unwrap_or(State::Closed));
        assert_ne!(transition.from, transition.to);
    }

    fn assert_few_tasks(&self) {
        // The caller's task, and one for each end of its connection.
        let tasks_of_calls = 3 * self.calls.len();
        assert!(tasks() <= tasks_of_calls + OTHER_TASKS, "{} tasks", tasks());
    }

    /// Whether all providers are closed, and all callers have been served by the first for a while.
    async fn has_recovered(&mut self) -> bool {
        self.outcomes.clear();
        self.during(sleep(10 * PACE)).await;
        let mut rows = self.cache.snapshot().providers.into_iter();
        rows.all(|row| row.state == State::Closed)
            && self.outcomes.keys().eq([&Outcome::Served("a".to_owned())])
    }

    /// Extra time for a busy machine: a recovery takes some ten steps, each of which may be as late as the latest so far.
    fn slack(&self) -> Duration {
        SECOND / 2 + 10 * self.most_late
    }

    /// Waits for all calls, stops the probe, and asserts that only the servers' tasks are left.
    async fn end(mut self) {
        while let Some(ended) = self.calls.join_next().await {
            ended.unwrap();
        }
        self.probe.stop().await;
        let slack = self.slack();
        drop(self);
        let all_end = async {
            while tasks() > NAMES.len() {
                sleep(MILLISECOND).await;
            }
        };
        let in_time = timeout(slack, all_end).await;
        in_time.unwrap_or_else(|_| panic!("{} tasks", tasks()));
    }

    fn log(&self, what: impl Display) {
        let Self { seed, began, .. } = self;
        println!("{seed} {:>5} ms  {what}", began.elapsed().as_millis());
    }
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Asserts that each call reached this server at most once.
fn assert_asked_once(server: &Server) {
    let mut seen = HashSet::new();
    for request in server.all_requests() {
        let call = path(&request).strip_prefix('/').unwrap_or_default();
        let is_first = call.parse::<usize>().map_or(true, |call| seen.insert(call));
        assert!(is_first, "call {call} came again");
    }
}
