//! One run: a seed, a fresh thread, the driver's story, and what came of it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Once, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use madsim::rand::RngCore as _;

use crate::{
    detail::Detail,
    hooks::Hooks,
    logs::{self, Logs},
    net::{Net, Network},
    node::{Crash, Incarnation, Machine, Node},
    random::{Dice, OF_THE_NODE, key},
    state::{self, State, with},
    task, time,
    timer::{self, Event, Timers},
    trace::Trace,
};

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Everything follows from it.
    pub seed: u64,
    /// Keep a readable line for each event of the trace.
    pub lines: bool,
    /// Keep who sent what to whom, and what deaths did to disks.
    pub detail: bool,
    /// What to do with log lines.
    pub logs: Logs,
    /// How long the run may last in simulated time.
    pub time_limit: Duration,
    /// How much time of a processor it may take; on the wall it may last twenty times as long.
    pub cpu_limit: Duration,
}

impl Setup {
    /// The usual run of a seed: an hour of simulated time, a minute of a processor, nothing kept.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            lines: false,
            detail: false,
            logs: Logs::Off,
            time_limit: Duration::from_secs(3600),
            cpu_limit: Duration::from_secs(60),
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the driver returned, or why it did not.
    pub result: Result<T, Failure>,
    /// The hash over all events.
    pub trace: [u8; 16],
    /// How long it lasted in simulated time.
    pub elapsed: Duration,
    /// What the network carried.
    pub counts: Counts,
    /// How often each kind of fault changed something.
    pub effects: BTreeMap<&'static str, u64>,
    /// How often each planted bug was met.
    pub planted: BTreeMap<&'static str, u64>,
    /// How often each crash point was passed.
    pub points: BTreeMap<&'static str, u64>,
    /// How often each state was met that runs should come to.
    pub met: BTreeMap<&'static str, u64>,
    /// How often each site of rare behaviour fired.
    pub fired: BTreeMap<&'static str, u64>,
    /// The readable trace, when asked for.
    pub lines: Vec<String>,
    /// The log, when asked for.
    pub logs: Vec<String>,
    /// Details, when asked for.
    pub detail: Option<Detail>,
}

/// Why a run did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Code panicked.
    #[error("{node} panicked at {at:?}: {message}")]
    Panic {
        /// When, in simulated time.
        at: Duration,
        /// On which node.
        node: String,
        /// What it said, and where in the source.
        message: String,
    },
    /// It lasted longer than allowed in simulated time: everybody waits for something that does not come.
    #[error("not at its end after {0:?} of simulated time")]
    TimeLimit(Duration),
    /// It took more time of a processor than allowed: code that never lets go.
    #[error("not at its end after {0:?} of a processor")]
    Stuck(Duration),
}

/// What the network carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pieces of data that arrived.
    pub deliveries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Connections made.
    pub connections: u64,
}

/// The run, for its driver: a handle without content, good on the run's thread.
#[derive(Clone, Copy, Debug)]
pub struct World(());

impl World {
    /// The run of this thread.
    pub fn current() -> Self {
        Self(())
    }

    /// Makes a node: switched on, with an empty disk and a process that does nothing yet.
    ///
    /// # Panics
    /// When the name or the address is taken.
    pub fn node(self, name: &str, ip: IpAddr) -> Node {
        with(|state| {
            assert!(state.machines.iter().all(|machine| machine.name != name), "there is a node {name:?}");
            let node = state.add_machine(name.to_owned(), ip);
            state.net.add_host(name, ip, node);
            node
        })
    }

    /// All nodes, in the order they were made.
    pub fn nodes(self) -> Vec<Node> {
        with(|state| (1..state.machines.len()).map(Node::from_index).collect())
    }

    /// Simulated time since the run began.
    pub fn elapsed(self) -> Duration {
        time::elapsed()
    }

    /// The true wall clock, which no node need share.
    pub fn wall_ms(self) -> i64 {
        with(|state| state.epoch_ms + (state.now() / 1_000_000) as i64)
    }

    /// The seed of the run.
    pub fn seed(self) -> u64 {
        with(|state| state.setup.seed)
    }

    /// The key of the driver's stream of random numbers for `purpose`.
    pub fn key(self, purpose: &str) -> [u8; 32] {
        with(|state| key(state.setup.seed, "", OF_THE_NODE, purpose))
    }

    /// Adds an event to the trace: up to 8 numbers, any bytes.
    pub fn record(self, kind: &'static str, numbers: &[u64], bytes: &[u8]) {
        crate::trace::record(Node::DRIVER, kind, numbers, bytes);
    }

    /// Makes a name known to `resolve` on every node.
    pub fn add_host(self, name: &str, ip: IpAddr) {
        with(|state| state.net.add_name(name, ip));
    }

    /// The network.
    pub fn net(self) -> Network {
        Network(())
    }

    /// Switches a planted bug on.
    pub fn plant(self, name: &'static str) {
        with(|state| state.plant(name));
    }

    /// Lets the rare ways of all sites whose name begins with `prefix` be taken: each site is active in this run with
    /// the first probability, and an active one fires with the second each time it is passed.
    pub fn buggify(self, prefix: &str, active: f64, fire: f64) {
        with(|state| state.allow_buggify(prefix, active, fire));
    }

    /// Gives all taps to `listener`, in place of an earlier one.
    pub fn subscribe(self, listener: impl FnMut(&crate::Tap<'_>) + 'static) {
        with(|state| state.listen(Box::new(listener)));
    }

    /// How often each crash point was passed so far.
    pub fn points(self) -> BTreeMap<&'static str, u64> {
        with(|state| state.points())
    }

    /// How often each kind of fault has changed something so far.
    pub fn effects(self) -> BTreeMap<&'static str, u64> {
        with(|state| state.effects.clone())
    }

    /// How often each planted bug was met so far.
    pub fn planted(self) -> BTreeMap<&'static str, u64> {
        with(|state| state.planted())
    }

    /// What the network has carried so far.
    pub fn counts(self) -> Counts {
        with(|state| state.counts)
    }
}

/// Thrown by the ticker at the time limit.
pub(crate) struct TimeIsUp;
/// Thrown by a run nobody waits for any more.
pub(crate) struct GivenUp;

thread_local! {
    static OVER: Cell<bool> = const { Cell::new(false) };
    static IN_A_RUN: Cell<bool> = const { Cell::new(false) };
    static FIRST_PANIC: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Whether the run of this thread has ended and is being cleared away, when destructors meet the broken state a panic
/// left.
pub fn is_over() -> bool {
    OVER.try_with(Cell::get).unwrap_or(true)
}

/// Runs `main` under the seed, on a thread of its own, and waits for it. Runs on several threads do not disturb each
/// other.
pub fn run<T, F>(setup: Setup, main: impl FnOnce(World) -> F + Send + 'static) -> Outcome<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    hook_panics();
    let cpu_limit = setup.cpu_limit;
    let given_up = Arc::new(AtomicBool::new(false));
    let (send, outcome) = mpsc::channel();
    let watch = given_up.clone();
    let used = Arc::new(OnceLock::new());
    let clock = used.clone();
    let body = move || {
        let _ = clock.set(Used::of_this_thread());
        let _ = send.send(on_this_thread(setup, watch, main));
    };
    #[allow(clippy::disallowed_methods, reason = "a run needs a thread that has run nothing else")]
    let thread = thread::Builder::new().name("run".into()).stack_size(STACK).spawn(body);
    let thread = thread.expect("the system gives a thread");
    let failure = match wait(&outcome, cpu_limit, || used.get().and_then(Used::time)) {
        Ok(outcome) => {
            let _ = thread.join();
            return outcome;
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = thread.join().err();
            let words = panic.as_ref().and_then(|panic| panic.downcast_ref::<String>().cloned());
            let message = format!("the world itself broke: {}", words.unwrap_or_default());
            Failure::Panic { at: Duration::ZERO, node: "driver".into(), message }
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            // The thread is left to itself: it ends at one of its next polls, or never.
            given_up.store(true, Relaxed);
            Failure::Stuck(cpu_limit)
        }
    };
    Outcome {
        result: Err(failure),
        trace: [0; 16],
        elapsed: Duration::ZERO,
        counts: Counts::default(),
        effects: BTreeMap::new(),
        planted: BTreeMap::new(),
        points: BTreeMap::new(),
        met: BTreeMap::new(),
        fired: BTreeMap::new(),
        lines: Vec::new(),
        logs: Vec::new(),
        detail: None,
    }
}

/// Waits for the outcome until the run's thread has used up its time. A busy machine makes a run last, not use more.
fn wait<T>(
    outcome: &mpsc::Receiver<T>,
    cpu_limit: Duration,
    used: impl Fn() -> Option<Duration>,
) -> Result<T, mpsc::RecvTimeoutError> {
    let turn = cpu_limit.min(Duration::from_secs(1));
    let mut waited = Duration::ZERO;
    loop {
        match outcome.recv_timeout(turn) {
            Err(mpsc::RecvTimeoutError::Timeout) => waited += turn,
            other => return other,
        }
        if waited >= cpu_limit * 20 || used().unwrap_or(waited) >= cpu_limit {
            return Err(mpsc::RecvTimeoutError::Timeout);
        }
    }
}

/// Where the system tells what a thread has used of the processors.
struct Used(Option<PathBuf>);

impl Used {
    fn of_this_thread() -> Self {
        Self(std::fs::read_link("/proc/thread-self").ok().map(|thread| Path::new("/proc").join(thread)))
    }

    fn time(&self) -> Option<Duration> {
        #[allow(clippy::disallowed_methods, reason = "the watcher stands outside of the run")]
        let text = std::fs::read_to_string(self.0.as_ref()?.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }
}

fn on_this_thread<T, F: Future<Output = T>>(
    setup: Setup,
    given_up: Arc<AtomicBool>,
    main: impl FnOnce(World) -> F,
) -> Outcome<T> {
    // First of all on this thread: it seeds the keys of the thread's hash maps.
    let runtime = madsim::runtime::Runtime::with_seed_and_config(setup.seed, madsim::Config::default());
    logs::open(setup.logs);
    IN_A_RUN.set(true);
    let limit = setup.time_limit;
    let handle = runtime.handle().clone();
    let story = async move {
        begin(setup, handle, given_up);
        let value = task::watched("the driver", Box::pin(main(World(())))).await;
        with(State::seal);
        value
    };
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(story)));
    let result = result.map_err(|panic| failure(&*panic, limit));
    if let Err(failure) = &result {
        with(|state| state.record(Node::DRIVER, "failure", &[], failure.to_string().as_bytes()));
    }
    let mut outcome = with(|state| state.outcome(result));
    OVER.set(true);
    // An executor leaks the tasks that are alive when it is dropped. Their destructors may meet the broken state that
    // a panic left: they cannot do worse than panic too, and what they do counts no more.
    let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(clear_away())));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(runtime)));
    let state = state::replace(None);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
    IN_A_RUN.set(false);
    outcome.logs = logs::close();
    outcome
}

/// Puts the run in place; called on the driver's node.
fn begin(setup: Setup, handle: madsim::runtime::Handle, given_up: Arc<AtomicBool>) {
    let limit = setup.time_limit;
    let seed = setup.seed;
    let dice = |purpose: &str| Dice::new(key(seed, "driver", OF_THE_NODE, purpose));
    let ip = DRIVER_IP.parse().expect("an address");
    let mut driver = Machine::new(Node::DRIVER, "driver".into(), ip, dice);
    driver.facts.pid = 1;
    let mut state = Box::new(State {
        trace: Trace::new(setup.lines),
        detail: setup.detail.then(Box::default),
        setup,
        given_up,
        handle,
        time: madsim::time::TimeHandle::current(),
        epoch_ms: FIRST_EPOCH_MS + dice("epoch").below(YEAR_MS) as i64,
        timers: Timers::default(),
        machines: vec![driver],
        incarnations: vec![Incarnation::driver()],
        ids: vec![madsim::plugin::node()],
        net: Net::default(),
        effects: BTreeMap::new(),
        hooks: Hooks::default(),
        counts: Counts::default(),
        driver_tasks: Vec::new(),
        spawned: 0,
    });
    state.net.add_host("driver", ip, Node::DRIVER);
    state.record(Node::DRIVER, "seed", &[seed], b"");
    state.at(limit.as_nanos() as u64, Event::Limit);
    state::replace(Some(state));
    task::spawn_on_driver(timer::ticker());
}

impl State {
    /// Closes the trace: the scheduler's next random word stands for every choice it made.
    fn seal(&mut self) {
        let word = madsim::rand::thread_rng().next_u64();
        self.record(Node::DRIVER, "end", &[word], b"");
    }

    fn outcome<T>(&mut self, result: Result<T, Failure>) -> Outcome<T> {
        Outcome {
            result,
            trace: self.trace.digest(),
            elapsed: Duration::from_nanos(self.now()),
            counts: self.counts,
            effects: self.effects.clone(),
            planted: self.planted(),
            points: self.points(),
            met: self.met(),
            fired: self.fired(),
            lines: self.trace.lines.take().unwrap_or_default(),
            logs: Vec::new(),
            detail: self.take_detail(),
        }
    }
}

/// Ends every task and lets the executor drop them.
async fn clear_away() {
    let (nodes, tasks) = with(|state| {
        let nodes = (1..state.machines.len()).map(Node::from_index).collect::<Vec<_>>();
        (nodes, std::mem::take(&mut state.driver_tasks))
    });
    for node in nodes {
        node.crash(Crash::Process);
    }
    for task in tasks {
        task.abort();
    }
    madsim::time::sleep(Duration::from_millis(1)).await;
}

fn failure(panic: &(dyn Any + Send), limit: Duration) -> Failure {
    let first = FIRST_PANIC.take();
    if panic.is::<TimeIsUp>() {
        return Failure::TimeLimit(limit);
    }
    first.unwrap_or(Failure::Panic {
        at: Duration::ZERO,
        node: String::new(),
        message: "of unknown kind".into(),
    })
}

/// Notes where and when the first panic of a run was, instead of printing it.
fn hook_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_A_RUN.try_with(Cell::get).unwrap_or(false) {
                return usual(info);
            }
            if is_over() {
                return;
            }
            let place =
                madsim::time::TimeHandle::try_current().map(|time| time.elapsed()).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("a panic without words");
            let source =
                info.location().map(|location| format!(" ({}:{})", location.file(), location.line()));
            let message = format!("{message}{}", source.unwrap_or_default());
            // The state may be borrowed by the very code that panics.
            let node = state::name_of_running_node().unwrap_or_default();
            FIRST_PANIC.with_borrow_mut(|first| {
                first.get_or_insert(Failure::Panic { at: place, node, message });
            });
        }));
    });
}

const STACK: usize = 8 << 20;
const DRIVER_IP: &str = "10.255.255.254";
const FIRST_EPOCH_MS: i64 = 1_750_000_000_000;
const YEAR_MS: u64 = 365 * 86_400_000;
