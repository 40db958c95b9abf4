//! One run: starts the cluster, lets load and faults happen, heals, drains, reads everything, and judges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use lab::check::{self, Rule, Violation};
use lab::clients::{Asker, DRAIN, LOAD, Recorder, SETTLE, drain, read_all, set_up};
use lab::history::{AGAIN, Audit, END, History, How, Kind, NodeId, Outcome};
use lab::image;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Lie;
use crate::cluster::{Cluster, Here, Real, held};
use crate::fit::Fit;
use crate::servers::Make;
use crate::steps::Steps;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) fit: Fit,
    pub(crate) violations: Vec<Violation>,
    /// How many things each rule looked at.
    pub(crate) checked: BTreeMap<Rule, u64>,
    /// Sends by outcome.
    pub(crate) sends: BTreeMap<&'static str, u64>,
    pub(crate) deliveries: u64,
    pub(crate) consumed: u64,
    /// What faults did.
    pub(crate) effects: BTreeMap<&'static str, u64>,
    pub(crate) took: Duration,
    /// The events before and just after the first violation.
    pub(crate) around: Vec<String>,
    /// For each rule that is broken, what happened to the first message or queue that shows it.
    pub(crate) evidence: Vec<(Rule, Vec<String>)>,
}

impl Told {
    /// True when the run means something: something was acknowledged and consumed, and faults that were planned struck.
    pub(crate) fn says_something(&self) -> bool {
        let acknowledged = self.sends.get(Outcome::Ok.name()).copied().unwrap_or(0);
        let struck = self.fit.plan.faults() == 0 || !self.effects.is_empty();
        acknowledged > 0 && self.consumed > 0 && struck
    }
}

/// Runs a plan against servers of this make, on a runtime of its own.
pub(crate) fn run(fit: Fit, make: &Make, lie: Option<Lie>) -> Result<Told> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(story(fit, make, lie))
}

async fn story(fit: Fit, make: &Make, lie: Option<Lie>) -> Result<Told> {
    let begun = Instant::now();
    let plan = Arc::new(fit.plan.clone());
    let recorder = Recorder::untapped(&plan, Arc::new(Real(begun)));
    if matches!(make, Make::Running(_)) {
        recorder.live().history.began_ms = 0; // nobody knows whose clock they have
    }
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::new(plan.clone(), make, folder.path(), recorder.clone(), lie).await?;
    let cluster = Arc::new(cluster);
    for name in cluster.servers.keys().rev() {
        cluster.begin(name).await; // name servers first
    }
    let home = Here::default();
    let (servers, brokers) = (cluster.servers_of("ns"), cluster.servers_of("b"));
    let asker = Arc::new(Asker::new(cluster.shared.clone(), home.clone(), servers, brokers));
    let made = set_up(&cluster.shared, &asker).await;
    let failed = |why: String| {
        let starts = std::mem::take(&mut recorder.live().failed_starts);
        anyhow!("{why}: {starts:?}")
    };
    made.map_err(failed)?;

    let steps = Steps::new(cluster.clone(), asker.clone(), lie);
    steps.first_clients().await;
    sleep(Duration::from_secs(2)).await;
    asker.watch(plan.probe_ms);
    let mut tasks = JoinSet::new();
    steps.begin(&mut tasks);
    cluster.shared.enter(LOAD);
    sleep(Duration::from_millis(plan.load_ms)).await;

    steps.heal(tasks).await;
    let effects = effects(&cluster);
    cluster.shared.enter(SETTLE);
    recorder.push(NodeId(0), Kind::Heal);
    let unwell = cluster.unwell();
    // Nobody waits for what a lie has taken away.
    let bound = if lie.is_some() { LIES_SHOW_WITHIN } else { DRAIN };
    drain(&cluster.shared, &asker, bound).await;
    // Runs are shorter than members may take to agree.
    let until = Instant::now() + if lie.is_some() { Duration::ZERO } else { OWNERS };
    while Instant::now() < until && !check::owned_once(&recorder.live().history) {
        sleep(Duration::from_millis(500)).await;
    }
    let audit = audit(&cluster, &asker, &home, make).await;
    let unwell = unwell.into_iter().chain(cluster.unwell()).collect();
    stop_all(&cluster).await;
    let failed_starts = std::mem::take(&mut recorder.live().failed_starts);
    let history = recorder.finish();
    Ok(judge(fit, &history, &audit, failed_starts, unwell, effects, begun.elapsed()))
}

/// Reads what the brokers hold, through the clients' door, and then their files.
async fn audit(cluster: &Cluster, asker: &Asker<Here>, home: &Here, make: &Make) -> Audit {
    let (mut audit, plan) = (Audit::default(), &cluster.shared.plan);
    for name in plan.client_nodes() {
        cluster.stop(&name).await;
    }
    asker.progress().await;
    match read_all(cluster.shared.clone()).await {
        Ok(contents) => audit.queues = contents,
        Err(why) => cluster.shared.recorder.failed_start("lab", &why),
    }
    audit.by_id = asker.by_id().await;
    asker.by_key().await;
    asker.ranges().await;
    asker.orders().await;
    home.close();
    let brokers = (0..plan.brokers.len()).map(|index| format!("b{index}"));
    for name in brokers.filter(|name| cluster.is_up(name)).collect::<Vec<_>>() {
        cluster.stop(&name).await;
        take_image(cluster, &name, END, make, &mut audit);
        if plan.recover_twice {
            for how in [How::Process, How::Stop] {
                cluster.up(&name).await;
                match how {
                    How::Stop => cluster.stop(&name).await,
                    _ => cluster.crash(&name).await,
                }
            }
            take_image(cluster, &name, AGAIN, make, &mut audit);
        }
    }
    audit
}

/// Reads a stopped broker's files; those of genuine brokers have other parts, which are not read.
fn take_image(cluster: &Cluster, name: &str, when: &'static str, make: &Make, audit: &mut Audit) {
    if !matches!(make, Make::Ours(_)) {
        return;
    }
    let recorder = &cluster.shared.recorder;
    match cluster.servers[name].files() {
        Ok(files) => {
            let live = recorder.live();
            let at_ns = live.history.events.last().map_or(0, |event| event.at_ns);
            let node = live.history.known_node(name).expect("brokers are known");
            audit.images.push(image::read(&live.history, node, at_ns, when, &files));
        }
        Err(error) => recorder.failed_start(name, &format!("its files cannot be read: {error:#}")),
    }
}

async fn stop_all(cluster: &Cluster) {
    for name in cluster.servers.keys() {
        cluster.stop(name).await;
    }
}

fn effects(cluster: &Cluster) -> BTreeMap<&'static str, u64> {
    let net = &cluster.net.effects;
    let of_net = [
        ("held back by the proxy", &net.held),
        ("connections broken by the proxy", &net.broken),
        ("delayed by the proxy", &net.late),
        ("sent twice by the proxy", &net.doubled),
    ];
    let of_net = of_net.map(|(what, count)| (what, count.load(Ordering::Relaxed)));
    let harmed = held(&net.harmed).clone();
    let all = held(&cluster.done).clone().into_iter().chain(of_net).chain(harmed);
    all.filter(|(_, count)| *count > 0).collect()
}

fn judge(
    fit: Fit,
    history: &History,
    audit: &Audit,
    failed_starts: Vec<(u64, usize, String)>,
    unwell: Vec<(String, String)>,
    effects: BTreeMap<&'static str, u64>,
    took: Duration,
) -> Told {
    let judged = check::judge(history, audit);
    let (mut violations, last) = (judged.violations, history.events.len().saturating_sub(1));
    let at_end_ns = history.events.last().map_or(0, |event| event.at_ns);
    for (at_ns, event, sentence) in failed_starts {
        violations.push(Violation { rule: Rule::L12, at_ns, event, witness: String::new(), sentence });
    }
    for (name, why) in unwell {
        let sentence = format!("{name}: {why}.");
        let (at_ns, event) = (at_end_ns, last);
        violations.push(Violation { rule: Rule::Panic, at_ns, event, witness: name, sentence });
    }
    let (mut sends, mut deliveries, mut consumed) = (BTreeMap::new(), 0, 0);
    for event in &history.events {
        match event.kind {
            Kind::Sent { outcome, .. } => *sends.entry(outcome.name()).or_default() += 1,
            Kind::Enter { .. } => deliveries += 1,
            Kind::Exit { ok: true, .. } => consumed += 1,
            _ => {}
        }
    }
    let around = violations.first().map_or(Vec::new(), |first| {
        let event = first.event.min(last);
        (event.saturating_sub(30)..(event + 10).min(history.events.len()))
            .map(|it| history.line(it))
            .collect()
    });
    let evidence = evidence(history, &violations);
    let checked = judged.checked;
    Told { fit, violations, checked, sends, deliveries, consumed, effects, took, around, evidence }
}

/// The life of the first message that each broken rule names, or of the first queue, and the faults meanwhile.
fn evidence(history: &History, violations: &[Violation]) -> Vec<(Rule, Vec<String>)> {
    let mut evidence: Vec<(Rule, Vec<String>)> = Vec::new();
    for violation in violations {
        if evidence.iter().any(|(rule, _)| *rule == violation.rule) {
            continue;
        }
        let told = [&violation.sentence, &violation.witness];
        let message = told.into_iter().flat_map(|text| words(text)).find(|word| is_message(word));
        // A queue has slashes in its name.
        let queue = told.into_iter().flat_map(|text| places(text)).find(|it| it.matches('/').count() == 2);
        let Some(name) = message.or(queue) else { continue };
        let of_server = |node: NodeId| matches!(history.node_name(node).as_bytes()[0], b'b' | b'n');
        let mut lines = Vec::new();
        for (number, event) in history.events.iter().enumerate() {
            let fault = match event.kind {
                Kind::Down { .. } | Kind::Up => of_server(event.node),
                Kind::StepOn { .. } | Kind::StepOff { .. } | Kind::Heal | Kind::Drained { .. } => true,
                _ => false,
            };
            let line = history.line(number);
            if fault || words(&line).chain(places(&line)).any(|word| word == name) {
                lines.push(line);
            }
        }
        if lines.len() > MOST_LINES {
            let left_out = lines.len() - MOST_LINES;
            lines.splice(MOST_LINES / 2..MOST_LINES / 2 + left_out, [format!("    ({left_out} more)")]);
        }
        evidence.push((violation.rule, lines));
    }
    evidence
}

fn places(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().map(|word| word.trim_end_matches([',', '.', ':']))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '#')
}

/// True for the name of a message: `p0#12`.
fn is_message(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = word.strip_prefix('p').and_then(|rest| rest.split_once('#'));
    parts.is_some_and(|(producer, serial)| digits(producer) && digits(serial))
}

/// What CON-5 allows after the last change, and a moment.
const OWNERS: Duration = Duration::from_secs(115);
/// Events that are shown for one rule.
const MOST_LINES: usize = 60;
/// How long a drain is waited for when it cannot end well.
const LIES_SHOW_WITHIN: Duration = Duration::from_secs(20);
