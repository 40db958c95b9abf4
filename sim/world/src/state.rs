//! All that one run knows, kept for its thread.
//!
//! There is no lock and no shared pointer: a run has one thread. No code of others (wakers, inspectors, taps) is called
//! while the state is borrowed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    task::Waker,
};

use madsim::{
    runtime::Handle,
    task::{AbortHandle, NodeId},
    time::TimeHandle,
};

use crate::{
    detail::Detail,
    hooks::Hooks,
    net::Net,
    node::{Incarnation, Machine, Node},
    run::{Counts, Setup},
    timer::Timers,
    trace::Trace,
};

pub(crate) struct State {
    pub(crate) setup: Setup,
    /// Nobody waits for this run any more.
    pub(crate) given_up: Arc<AtomicBool>,
    pub(crate) handle: Handle,
    pub(crate) time: TimeHandle,
    /// The true wall clock when the run began.
    pub(crate) epoch_ms: i64,
    pub(crate) timers: Timers,
    pub(crate) machines: Vec<Machine>,
    pub(crate) incarnations: Vec<Incarnation>,
    /// The executor's node of each incarnation, ascending: every incarnation is a node of its own there, so that code
    /// which outlives its process is known by where it runs.
    pub(crate) ids: Vec<NodeId>,
    pub(crate) net: Net,
    pub(crate) trace: Trace,
    /// What is kept for people.
    pub(crate) detail: Option<Box<Detail>>,
    pub(crate) effects: BTreeMap<&'static str, u64>,
    pub(crate) hooks: Hooks,
    pub(crate) counts: Counts,
    /// Tasks of the driver itself: the executor cannot end them with a node.
    pub(crate) driver_tasks: Vec<AbortHandle>,
    pub(crate) spawned: u64,
}

/// Which process of which node is meant: a restarted node is another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Here {
    /// The node.
    pub node: Node,
    /// Which of all processes of the run.
    pub incarnation: u32,
}

impl Here {
    /// Whether that process still runs. The code of a killed process goes on to its next await, and its destructors run
    /// later still: what they do must not count.
    pub fn is_alive(self) -> bool {
        try_with(|state| state.is_alive(self)).unwrap_or(false)
    }
}

/// The process whose code is running.
///
/// # Panics
/// Outside a run.
pub fn here() -> Here {
    with(|state| state.here())
}

thread_local! {
    static RUN: RefCell<Option<Box<State>>> = const { RefCell::new(None) };
}

/// Steps the run of this thread.
pub(crate) fn with<R>(step: impl FnOnce(&mut State) -> R) -> R {
    try_with(step).expect("no simulation runs on this thread: enter by runtime::run or world::run")
}

/// Like [`with`], for code that may run when the run is already gone: destructors.
pub(crate) fn try_with<R>(step: impl FnOnce(&mut State) -> R) -> Option<R> {
    RUN.try_with(|run| run.borrow_mut().as_deref_mut().map(step)).ok().flatten()
}

/// Where a panic happens, if that can be told without touching what the panicking code holds.
pub(crate) fn name_of_running_node() -> Option<String> {
    RUN.with(|run| {
        let run = run.try_borrow().ok()?;
        let state = run.as_deref()?;
        Some(state.machines[state.here().node.index()].name.clone())
    })
}

/// Adds a waker unless the same is there: a future may be polled many times before it is woken once.
pub(crate) fn remember(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// Puts a run in place for this thread, or takes it away.
pub(crate) fn replace(state: Option<Box<State>>) -> Option<Box<State>> {
    RUN.with(|run| run.replace(state))
}

impl State {
    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }

    pub(crate) fn here(&self) -> Here {
        self.here_at(madsim::plugin::node())
    }

    fn here_at(&self, id: NodeId) -> Here {
        let incarnation = self.ids.binary_search(&id).expect("only the world makes nodes");
        Here { node: self.incarnations[incarnation].node, incarnation: incarnation as u32 }
    }

    pub(crate) fn is_alive(&self, here: Here) -> bool {
        self.incarnations[here.incarnation as usize].alive
    }

    pub(crate) fn machine(&mut self, node: Node) -> &mut Machine {
        &mut self.machines[node.index()]
    }
}
