//! Runs a plan in the simulated world: builds the cluster, lets load and faults happen, heals, drains, audits.

mod audit;
mod cluster;
mod details;
mod faults;
mod requests;
mod rot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::task::TaskSet;
use runtime::time::sleep;
use world::{Crash, Failure, Logs, Node, Setup, World};

use crate::check::{self, Rule, Violation};
use crate::clients::{Asker, DRAIN, Home, LOAD, Place, Recorder, SETTLE, Shared, drain, read_all, set_up};
use crate::cover;
use crate::explain::detail::Detail;
use crate::history::{AGAIN, Audit, END, History, How, Kind, NodeId, Outcome, RECOVERED};
use crate::moment;
use crate::op::Op;
use crate::outcome::{Run, Verdict};
use crate::plan::{Plan, Rare, Step};
use crate::scenario::Drawing;
use crate::shrink::Told;
use cluster::{BROKER_PORT, Cluster, NAME_SERVER_PORT};
use faults::Steps;
use requests::Requests;
pub use tracing::Level;

/// How to run a plan.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Planted bugs that are on.
    pub plants: Vec<&'static str>,
    /// Keep a line for each event of the trace.
    pub lines: bool,
    /// Print the system's log lines of this level and above.
    pub trace: Option<Level>,
    /// Let the system write log lines of this level and above, for nobody.
    pub logs: Option<Level>,
    /// Keep all that a page about a failure shows, log lines too.
    pub detail: bool,
}

/// What running a plan gives.
#[derive(Debug)]
pub struct Done {
    /// The result.
    pub run: Run,
    /// The readable trace, when asked for.
    pub lines: Vec<String>,
    /// The history.
    pub history: History,
    /// What the stores held in the end, as far as the run came.
    pub audit: Audit,
    /// What producers did under load.
    pub ops: Vec<Op>,
    /// What else was kept, when asked for.
    pub detail: Option<Detail>,
}

impl Done {
    /// What the run tells of its plan: the calls that were drawn, and what its steps came after.
    #[must_use]
    pub fn told(&self) -> Told {
        Told { ops: self.ops.clone(), moments: moment::told(&self.history) }
    }
}

/// Runs a plan and judges it.
#[must_use]
pub fn run(plan: &Plan, options: &Options) -> Done {
    let recorder = Recorder::new(plan, Arc::new(Simulated));
    let kept = options.logs.or(options.detail.then_some(Level::INFO));
    let setup = Setup {
        lines: options.lines,
        detail: options.detail,
        logs: options.trace.map(Logs::Print).or(kept.map(Logs::Keep)).unwrap_or(Logs::Off),
        time_limit: Duration::from_secs(3600) + Duration::from_millis(plan.load_ms) * 3,
        cpu_limit: Duration::from_secs(60) + Duration::from_millis(plan.load_ms) / 10,
        ..Setup::seed(plan.seed)
    };
    let cpu = Arc::new(AtomicU64::new(0));
    let (told, plants, spent) = (recorder.clone(), options.plants.clone(), cpu.clone());
    let shared_plan = Arc::new(plan.clone());
    let outcome = world::run(setup, move |world| async move {
        plants.into_iter().for_each(|bug| world.plant(bug));
        let told = story(world, shared_plan, told).await;
        spent.store(thread_cpu_ns(), Ordering::Relaxed);
        told
    });
    let failed_starts = std::mem::take(&mut recorder.live().failed_starts);
    let ops = std::mem::take(&mut recorder.live().ops);
    let history = recorder.finish();
    let before = thread_cpu_ns();
    let mut run = Run {
        scenario: plan.scenario.clone(),
        seed: plan.seed,
        drawing: Drawing { profile: plan.profile, safety_only: plan.safety_only },
        verdict: Verdict::Pass,
        note: String::new(),
        violations: Vec::new(),
        trace: outcome.trace.iter().map(|byte| format!("{byte:02x}")).collect(),
        simulated_ns: outcome.elapsed.as_nanos() as u64,
        cpu_ns: cpu.load(Ordering::Relaxed),
        check_ns: 0,
        frames: outcome.counts.deliveries,
        events: history.events.len() as u64,
        sends: BTreeMap::new(),
        deliveries: 0,
        consumed: 0,
        repeats: BTreeMap::new(),
        worst: BTreeMap::new(),
        planned: BTreeMap::new(),
        effects: named(&outcome.effects),
        idle: BTreeSet::new(),
        checked: BTreeMap::new(),
        planted: named(&outcome.planted),
        points: named(&outcome.points),
        met: named(&outcome.met),
        fired: named(&outcome.fired),
        struck: BTreeSet::new(),
        features: BTreeSet::new(),
        knobs: cover::knobs(plan),
        plan: String::new(),
        last_events: Vec::new(),
    };
    count(&mut run, plan, &history);
    for (at_ns, event, sentence) in failed_starts {
        run.violations.push(Violation { rule: Rule::L12, at_ns, event, witness: String::new(), sentence });
    }
    let mut audit = Audit::default();
    match outcome.result {
        Ok(Ok(found)) => {
            audit = found;
            let judged = check::judge(&history, &audit);
            run.violations.extend(judged.violations);
            run.repeats = named(&judged.repeats);
            run.worst = named(&judged.worst);
            run.met.extend(named(&judged.told));
            run.checked = judged.checked.iter().map(|(rule, count)| (rule.id().to_owned(), *count)).collect();
        }
        Ok(Err(note)) => {
            let judged = check::judge(&history, &Audit::default());
            run.violations.extend(judged.violations);
            run.note = note;
        }
        Err(failure) => {
            let event = history.events.len().saturating_sub(1);
            let at_ns = history.events.last().map_or(0, |event| event.at_ns);
            match failure {
                Failure::Panic { .. } => run.violations.push(Violation {
                    rule: Rule::Panic,
                    at_ns,
                    event,
                    witness: String::new(),
                    sentence: format!("{failure}."),
                }),
                Failure::TimeLimit(_) | Failure::Stuck(_) => run.note = format!("{failure}"),
            }
            // What happened until then may tell why.
            let judged = check::judge(&history, &Audit::default());
            let safety = judged.violations.into_iter().filter(|violation| !violation.rule.is_liveness());
            run.violations.extend(safety);
        }
    }
    run.violations.retain(|violation| !plan.safety_only || !violation.rule.is_eventual());
    run.idle = idle(plan, &audit.struck);
    let counted = plan.steps.iter().filter(|step| !step.what.effects().is_empty());
    let struck = counted.map(Step::kind).filter(|kind| !run.idle.contains(*kind));
    run.struck = struck.chain(cover::felt(plan, &history)).map(str::to_owned).collect();
    run.features = cover::features(plan, &history).into_iter().map(str::to_owned).collect();
    run.verdict = verdict(&mut run, plan, &audit.missed);
    if run.verdict != Verdict::Pass {
        run.plan = plan.to_string();
        run.last_events = around(&history, &run);
    }
    run.check_ns = thread_cpu_ns() - before;
    run.cpu_ns += run.check_ns;
    let detail = outcome.detail.map(|detail| details::taken(detail, outcome.logs));
    Done { run, lines: outcome.lines, history, audit, ops, detail }
}

/// Kinds of planned faults of which no effect was seen, among those that have one.
fn idle(plan: &Plan, struck: &BTreeMap<&'static str, u64>) -> BTreeSet<String> {
    let mut idle = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| !step.what.effects().is_empty()) {
        *idle.entry(step.kind()).or_insert(true) &=
            !step.what.effects().iter().any(|name| struck.contains_key(name));
    }
    idle.into_iter().filter(|(_, idle)| *idle).map(|(kind, _)| kind.to_owned()).collect()
}

fn verdict(run: &mut Run, plan: &Plan, missed: &[u32]) -> Verdict {
    if !run.violations.is_empty() {
        return Verdict::Fail;
    }
    if !run.note.is_empty() {
        return Verdict::Error;
    }
    if !missed.is_empty() {
        let missed = missed.iter().map(|index| &plan.steps[*index as usize]);
        let told: Vec<_> =
            missed.filter_map(|step| Some(format!("{}, {}", step.on.as_ref()?, step.what))).collect();
        run.note = format!("not reached: {}", told.join("; "));
        return Verdict::Unknown;
    }
    let acknowledged = run.sends.get(Outcome::Ok.name()).copied().unwrap_or(0);
    // Faults that are felt without an effect of their own prove nothing, and ask for nothing.
    let mut counted = plan.steps.iter().filter(|step| !step.what.effects().is_empty());
    if acknowledged == 0 || run.consumed == 0 {
        run.note = "nothing was acknowledged, or nothing was consumed".to_owned();
        Verdict::Unknown
    } else if counted.clone().next().is_some() && counted.all(|step| run.idle.contains(step.kind())) {
        run.note = "faults were planned, and none had an effect".to_owned();
        Verdict::Unknown
    } else {
        Verdict::Pass
    }
}

fn count(run: &mut Run, plan: &Plan, history: &History) {
    for event in &history.events {
        match event.kind {
            Kind::Sent { outcome, .. } => *run.sends.entry(outcome.name().to_owned()).or_default() += 1,
            Kind::Enter { .. } => run.deliveries += 1,
            Kind::Exit { ok: true, .. } => run.consumed += 1,
            _ => {}
        }
    }
    for step in plan.steps.iter().filter(|step| step.what.is_fault()) {
        *run.planned.entry(step.kind().to_owned()).or_default() += 1;
    }
}

fn named(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// The events before and just after the first violation.
fn around(history: &History, run: &Run) -> Vec<String> {
    let last = history.events.len().saturating_sub(1);
    let event = run.violations.first().map_or(last, |violation| violation.event.min(last));
    let until = (event + 10).min(history.events.len());
    (event.saturating_sub(40)..until).map(|number| history.line(number)).collect()
}

/// One run from the first node to the audit. An error is a failure of the harness: it could not do its part.
async fn story(world: World, plan: Arc<Plan>, recorder: Recorder) -> Result<Audit, String> {
    recorder.listen(world);
    if plan.buggify > 0 {
        let fire = f64::from(plan.buggify) / 1000.0;
        world.buggify("", 0.25, fire);
        // What waits behind a delayed message that is refused waits as well.
        world.buggify("store.append.refused", 0.25, fire.min(MOST_REFUSED));
    }
    for site in plan.rare.map_or(&[][..], Rare::sites) {
        world.buggify(site, 1.0, NEARLY_ALWAYS);
    }
    let address = |net: u8, index: usize, port: u16| format!("10.0.{net}.{}:{port}", index + 1);
    let addresses: Vec<_> =
        (0..plan.name_servers as usize).map(|index| address(0, index, NAME_SERVER_PORT)).collect();
    let brokers = (0..plan.brokers.len()).map(|index| address(1, index, BROKER_PORT).into());
    let shared = Shared::new(plan.clone(), recorder.clone(), &addresses, brokers);
    let cluster = Arc::new(Cluster::new(world, shared.clone()));
    let servers = cluster.servers(&cluster.name_servers, NAME_SERVER_PORT);
    let brokers = cluster.servers(&cluster.brokers, BROKER_PORT);
    let asker = Arc::new(Asker::new(shared.clone(), cluster.asker, servers, brokers));
    let requests = Requests::watch(world, &cluster, &plan);
    cluster.start_servers();
    set_up(&shared, &asker).await?;

    let steps = Steps::new(world, cluster.clone(), plan.clone(), asker.clone(), requests);
    cluster.start_producers();
    steps.first_members();
    sleep(Duration::from_secs(2)).await;
    asker.watch(plan.probe_ms);
    asker.operate();
    asker.lock();
    asker.wait();
    let tasks = TaskSet::new();
    let images = watch_recoveries(&cluster, &tasks);
    let before = world.effects();
    steps.begin(&tasks);
    shared.enter(LOAD);
    sleep(Duration::from_millis(plan.load_ms)).await;

    tasks.close().await;
    steps.heal().await;
    shared.enter(SETTLE);
    recorder.push(NodeId(0), Kind::Heal);
    let mut audit = Audit { missed: steps.missed(), ..Audit::default() };
    for (name, count) in world.effects() {
        let more = count - before.get(name).copied().unwrap_or(0);
        if more > 0 && !AMBIENT.contains(&name) {
            audit.struck.insert(name, more);
        }
    }
    drain(&shared, &asker, DRAIN).await;
    audit.queues = read_everything(&cluster).await;
    audit.by_id = asker.by_id().await;
    asker.by_key().await;
    asker.ranges().await;
    asker.orders().await;
    audit.images = std::mem::take(&mut *images.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    audit_files(&plan, &cluster, &mut audit).await;
    for node in cluster.all() {
        cluster.stop(node).await;
    }
    Ok(audit)
}

type Images = Arc<std::sync::Mutex<Vec<crate::history::Image>>>;

/// Looks at a broker's files whenever it has recovered.
fn watch_recoveries(cluster: &Arc<Cluster>, tasks: &TaskSet) -> Images {
    let images = Images::default();
    for &node in &cluster.brokers {
        let (cluster, images) = (cluster.clone(), images.clone());
        tasks.spawn("watch recoveries", async move {
            let recorder = &cluster.shared.recorder;
            let id = recorder.id(node);
            let recovered = || recorder.live().recoveries.get(&id).copied().unwrap_or(0);
            let mut seen = recovered();
            loop {
                sleep(Duration::from_millis(50)).await;
                // One that died meanwhile may be about to recover once more.
                if std::mem::replace(&mut seen, recovered()) != seen && node.is_up() {
                    let image = audit::take_image(&cluster.shared, node, RECOVERED);
                    images.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(image);
                }
            }
        });
    }
    images
}

async fn read_everything(cluster: &Cluster) -> Vec<crate::history::QueueContent> {
    for &node in cluster.members.iter().chain(&cluster.producers) {
        cluster.stop(node).await;
    }
    let read = cluster.asker.spawn(read_all(cluster.shared.clone())).await;
    match read.unwrap_or_else(|| Err("the asker died".to_owned())) {
        Ok(contents) => contents,
        Err(why) => {
            cluster.shared.recorder.failed_start("lab", &why);
            Vec::new()
        }
    }
}

/// The simulated world: its time, and its trace.
#[derive(Debug)]
struct Simulated;

impl Place for Simulated {
    fn elapsed_ns(&self) -> u64 {
        World::current().elapsed().as_nanos() as u64
    }

    fn written(&self, number: u64, fold: u64) {
        World::current().record("history", &[number, fold], b"");
    }
}

impl Home for Node {
    fn run<T: Send + 'static>(
        &self,
        question: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Option<T>> {
        self.spawn(question)
    }
}

/// Looks at the files of brokers that were stopped cleanly, and again after one more crash and recovery.
async fn audit_files(plan: &Plan, cluster: &Cluster, audit: &mut Audit) {
    for &broker in &cluster.brokers {
        if cluster.shared.recorder.is_outside(broker) {
            continue;
        }
        cluster.stop(broker).await;
        audit.images.push(audit::take_image(&cluster.shared, broker, END));
        if !plan.recover_twice {
            continue;
        }
        cluster.up(broker);
        sleep(Duration::from_secs(10)).await;
        broker.crash(Crash::Process);
        cluster.down(broker, How::Process);
        cluster.up(broker);
        sleep(Duration::from_secs(10)).await;
        cluster.stop(broker).await;
        audit.images.push(audit::take_image(&cluster.shared, broker, AGAIN));
    }
}

/// CPU time of this thread. The simulated world overrides the C library's clocks, not the kernel's.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How often the sites of a plan's rare way take it.
const NEARLY_ALWAYS: f64 = 0.9;
/// How often an append is refused where that happens at all, at the most.
const MOST_REFUSED: f64 = 0.005;
/// Effects that a run has without any fault: how its nodes and links are.
const AMBIENT: &[&str] = &["clock.offset", "disk.slow_sync", "hook.buggify", "net.short_read"];
