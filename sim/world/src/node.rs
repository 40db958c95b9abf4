//! Machines and the processes on them: start, stop, crash, power loss, pause, slowness.
//!
//! Every incarnation of a node is a node of its own for the executor. What a killed process still does, up to its next
//! await and in its destructors, is therefore known to come from the dead.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use madsim::runtime::NodeHandle;

use crate::{
    clock::{Clock, WallClock},
    disk::Medium,
    host::Facts,
    random::Dice,
    state::{Here, State, here, remember, with},
    task, time,
};

/// A node: a machine with a disk and a clock, and at most one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(u32);

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies: its page cache survives, and the system closes its connections.
    Process,
    /// The machine loses its power: what was not synced may be lost, and nobody is told.
    Power,
}

type Program = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>>>;

pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// Whether its system runs: it answers packets even while no process does.
    pub(crate) powered: bool,
    pub(crate) clock: WallClock,
    pub(crate) disk: Medium,
    pub(crate) facts: Facts,
    pids: Dice,
    program: Option<Program>,
    /// The process, by its place among all incarnations.
    process: Option<u32>,
    started: u32,
    paused: bool,
    /// Paused for a moment because the machine is slow.
    stalled: bool,
    slowness: u32,
    /// Those who wait until no process runs.
    mourners: Vec<Waker>,
    /// Whether the last process was killed, or died at a crash point.
    died: bool,
    pub(crate) next_port: u16,
    /// How many connections wait for acceptance before more are left unanswered.
    pub(crate) backlog: usize,
}

pub(crate) struct Incarnation {
    pub(crate) node: Node,
    /// Which of its node's, from 0.
    pub(crate) number: u32,
    pub(crate) alive: bool,
    /// How many streams of random numbers it has asked for, by purpose.
    pub(crate) streams: BTreeMap<String, u32>,
    asked_to_stop: bool,
    listeners_for_stop: Vec<Waker>,
    executor: Option<NodeHandle>,
}

impl Incarnation {
    /// The driver of the run, which is always there.
    pub(crate) fn driver() -> Self {
        Self {
            node: Node::DRIVER,
            number: 0,
            alive: true,
            streams: BTreeMap::new(),
            asked_to_stop: false,
            listeners_for_stop: Vec::new(),
            executor: None,
        }
    }
}

impl Machine {
    pub(crate) fn new(node: Node, name: String, ip: IpAddr, key: impl Fn(&str) -> Dice) -> Self {
        Self {
            ip,
            powered: true,
            clock: WallClock::RIGHT,
            facts: Facts::draw(ip, &mut key("facts")),
            pids: key("pid"),
            disk: Medium::new(node, &key),
            program: None,
            process: None,
            started: 0,
            paused: false,
            stalled: false,
            slowness: 1,
            mourners: Vec::new(),
            died: false,
            next_port: FIRST_PORT,
            backlog: 1024,
            name,
        }
    }
}

impl Node {
    /// Where the driver of the run stands.
    pub(crate) const DRIVER: Self = Self(0);

    pub(crate) fn from_index(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// Its place in the order the nodes were made, from 1 (0 is the driver of the run).
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its name.
    pub fn name(self) -> String {
        with(|state| state.machine(self).name.clone())
    }

    /// Its first address.
    pub fn ip(self) -> IpAddr {
        with(|state| state.machine(self).ip)
    }

    /// Whether a process runs.
    pub fn is_up(self) -> bool {
        with(|state| state.machine(self).process.is_some())
    }

    /// How often a process was started here before this one.
    pub fn incarnation(self) -> u32 {
        with(|state| state.machine(self).started.saturating_sub(1))
    }

    /// Its disk, which outlives its processes.
    pub fn disk(self) -> Medium {
        with(|state| state.machine(self).disk.clone())
    }

    /// Its wall clock.
    pub fn clock(self) -> Clock {
        Clock(self)
    }

    /// Gives the node its program and starts it. The program is started anew by [`Node::restart`]; when it returns, the
    /// process ends.
    pub fn start<F>(self, program: impl Fn() -> F + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let program: Program = Rc::new(move || Box::pin(program()));
        with(|state| state.machine(self).program = Some(program));
        if self.is_up() {
            self.boot();
        } else {
            self.restart();
        }
    }

    /// Starts a process, and the machine if it is off. Does nothing while one runs.
    pub fn restart(self) {
        if self.is_up() {
            return;
        }
        let has_program = with(|state| {
            state.machine(self).powered = true;
            state.start_process(self);
            state.machine(self).program.is_some()
        });
        crate::net::machine_answers(self);
        if has_program {
            self.boot();
        }
    }

    fn boot(self) {
        let process = self.spawn(async move {
            // Also the program's first, synchronous part belongs to its own process, not to who starts it.
            let running = {
                let program = with(|state| state.machine(self).program.clone()).expect("start gave it one");
                program()
            };
            running.await;
            end(here(), None);
        });
        drop(process); // it goes on
    }

    /// Runs code on this node. It dies with the process that runs now.
    pub fn spawn<T: Send + 'static>(self, code: impl Future<Output = T> + Send + 'static) -> Spawned<T> {
        let executor = with(|state| {
            let process = state.machine(self).process?;
            state.incarnations[process as usize].executor.clone()
        });
        Spawned(
            executor.map(|executor| executor.spawn(task::watched("spawned by the driver", Box::pin(code)))),
        )
    }

    /// Asks the program to end, as SIGTERM does. [`Node::stopped`] waits until it has.
    pub fn stop(self) {
        let listeners = with(|state| {
            state.record(self, "fault.stop", &[], b"");
            let Some(process) = state.machine(self).process else { return Vec::new() };
            let incarnation = &mut state.incarnations[process as usize];
            incarnation.asked_to_stop = true;
            std::mem::take(&mut incarnation.listeners_for_stop)
        });
        listeners.into_iter().for_each(Waker::wake);
    }

    /// Waits until no process runs here: it ended by itself, or died. Says whether it ended by itself.
    pub async fn stopped(self) -> bool {
        poll_fn(|cx| {
            with(|state| {
                let machine = state.machine(self);
                if machine.process.is_none() {
                    return Poll::Ready(!machine.died);
                }
                remember(&mut machine.mourners, cx.waker());
                Poll::Pending
            })
        })
        .await
    }

    /// Kills the process, or the whole machine (also when no process runs: its page cache is lost then). Says whether
    /// there was anything to kill.
    pub fn crash(self, kind: Crash) -> bool {
        let (process, powered) = with(|state| {
            state.record(self, "fault.crash", &[u64::from(kind == Crash::Power)], b"");
            (state.machine(self).process, state.machine(self).powered)
        });
        match process {
            Some(incarnation) => end(Here { node: self, incarnation }, Some(kind)),
            None if kind == Crash::Power && powered => {
                with(|state| {
                    state.effect(self, "node.power");
                    state.machine(self).powered = false;
                });
                self.disk().crash(Crash::Power);
                crate::net::machine_falls_silent(self);
            }
            None => return false,
        }
        true
    }

    /// Stops the process's execution until [`Node::resume`]; its connections stay, and its machine answers.
    pub fn pause(self) {
        with(|state| {
            state.record(self, "fault.pause", &[], b"");
            if !state.machine(self).paused && state.machine(self).process.is_some() {
                state.effect(self, "node.pause");
            }
            state.machine(self).paused = true;
            state.apply_pause(self);
        });
    }

    /// Lets the process go on.
    pub fn resume(self) {
        with(|state| {
            state.record(self, "fault.resume", &[], b"");
            state.machine(self).paused = false;
            state.apply_pause(self);
        });
    }

    /// Makes the machine `factor` times slower than usual: its processes stand still for the rest of each few
    /// milliseconds. 1 is normal.
    pub fn slow(self, factor: u32) {
        let was = with(|state| {
            state.record(self, "fault.slow", &[u64::from(factor)], b"");
            std::mem::replace(&mut state.machine(self).slowness, factor.max(1))
        });
        if was == 1 && factor > 1 {
            task::spawn_on_driver(limp(self));
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Kills the process (or the machine) whose code is running: for crashes in the midst of synchronous code. Everything
/// it does afterwards has no effect, and its task ends at its next await.
pub fn crash_here(kind: Crash) {
    end(here(), Some(kind));
}

/// What [`Node::spawn`] started; awaiting it gives None when the process died first.
#[derive(Debug)]
pub struct Spawned<T>(Option<madsim::task::JoinHandle<T>>);

impl<T> Future for Spawned<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(cx).map(Result::ok),
            None => Poll::Ready(None),
        }
    }
}

/// Waits until the plan asks this process to end.
pub(crate) async fn asked_to_stop() {
    let here = here();
    poll_fn(|cx| {
        with(|state| {
            let incarnation = &mut state.incarnations[here.incarnation as usize];
            if incarnation.asked_to_stop {
                return Poll::Ready(());
            }
            remember(&mut incarnation.listeners_for_stop, cx.waker());
            Poll::Pending
        })
    })
    .await;
}

/// The end of a process: by itself, or by a crash.
fn end(here: Here, crash: Option<Crash>) {
    let node = here.node;
    let ended = with(|state| {
        if !state.is_alive(here) || node == Node::DRIVER {
            return None;
        }
        match crash {
            None if state.incarnations[here.incarnation as usize].asked_to_stop => {
                state.effect(node, "node.stop");
            }
            None => state.record(node, "exit", &[], b""),
            Some(Crash::Process) => state.effect(node, "node.crash"),
            Some(Crash::Power) => state.effect(node, "node.power"),
        }
        let incarnation = &mut state.incarnations[here.incarnation as usize];
        incarnation.alive = false;
        let machine = &mut state.machines[node.index()];
        machine.process = None;
        machine.died = crash.is_some();
        machine.paused = false;
        machine.stalled = false;
        machine.powered &= crash != Some(Crash::Power);
        let executor = state.incarnations[here.incarnation as usize].executor.clone();
        Some((std::mem::take(&mut state.machines[node.index()].mourners), executor, state.handle.clone()))
    });
    let Some((mourners, executor, handle)) = ended else { return };
    node.disk().crash(crash.unwrap_or(Crash::Process));
    match crash {
        Some(Crash::Power) => crate::net::machine_falls_silent(node),
        _ => crate::net::process_ends(here),
    }
    if let Some(executor) = executor {
        // Paused tasks would be dropped inside the executor's own lock, and their destructors with them.
        handle.resume(executor.id());
        handle.kill(executor.id());
    }
    mourners.into_iter().for_each(Waker::wake);
}

impl State {
    /// Makes a machine, with a process that does nothing until told.
    pub(crate) fn add_machine(&mut self, name: String, ip: IpAddr) -> Node {
        let node = Node::from_index(self.machines.len());
        let seed = self.setup.seed;
        let dice =
            |purpose: &str| Dice::new(crate::random::key(seed, &name, crate::random::OF_THE_NODE, purpose));
        let machine = Machine::new(node, name.clone(), ip, dice);
        self.machines.push(machine);
        self.record(node, "node", &[], name.as_bytes());
        self.start_process(node);
        node
    }

    fn start_process(&mut self, node: Node) {
        let machine = &mut self.machines[node.index()];
        let executor = self.handle.create_node().name(machine.name.clone()).cores(machine.facts.cpus).build();
        let number = machine.started;
        machine.started += 1;
        machine.facts.pid = 2 + machine.pids.below(4_194_302) as u32;
        machine.process = Some(self.incarnations.len() as u32);
        self.ids.push(executor.id());
        self.incarnations.push(Incarnation {
            node,
            number,
            executor: Some(executor),
            ..Incarnation::driver()
        });
        self.record(node, "start", &[u64::from(number)], b"");
        self.apply_pause(node);
    }

    fn apply_pause(&mut self, node: Node) {
        let machine = &self.machines[node.index()];
        let Some(process) = machine.process else { return };
        let Some(executor) = &self.incarnations[process as usize].executor else { return };
        if machine.paused || machine.stalled {
            self.handle.pause(executor.id());
        } else {
            self.handle.resume(executor.id());
        }
    }
}

/// Lets a slow machine's process run only for its share of the time.
async fn limp(node: Node) {
    let mut dice = crate::random::for_node(node, "slow");
    let mut stalled = false;
    loop {
        let slowness = with(|state| {
            let slowness = state.machine(node).slowness;
            state.machine(node).stalled = stalled && slowness > 1;
            if state.machine(node).stalled && state.machine(node).process.is_some() {
                state.effect(node, "node.slow");
            }
            state.apply_pause(node);
            slowness
        });
        if slowness == 1 {
            return;
        }
        let turn = dice.between(&(Duration::from_millis(1)..Duration::from_millis(5)));
        time::pass(if stalled { turn * (slowness - 1) } else { turn }).await;
        stalled = !stalled;
    }
}

/// Where Linux starts to give out ports of its own choice.
pub(crate) const FIRST_PORT: u16 = 32_768;
