//! What the hooks in the system's code do in simulation; the runtime crate's macros call these.

use std::{collections::BTreeMap, future::pending, time::Duration};

use crate::{
    named::Named,
    node::{Crash, Node, crash_here},
    random::Dice,
    state::{State, with},
};

#[derive(Default)]
pub(crate) struct Hooks {
    /// Planted bugs that are on, and how often each was met.
    planted: Vec<(&'static str, u64)>,
    armed: Vec<Armed>,
    arms: u64,
    /// How often each crash point was passed.
    points: Named<u64>,
    /// How often each state was met that runs should come to.
    met: Named<u64>,
    buggify: Vec<Buggify>,
    sites: Named<Site>,
    tap: Option<Listener>,
    tapped: bool,
}

type Listener = Box<dyn FnMut(&Tap<'_>)>;

struct Armed {
    arm: Arm,
    node: Node,
    point: String,
    passes_left: u64,
    crash: Crash,
}

struct Buggify {
    prefix: String,
    active: f64,
    fire: f64,
}

/// A place of rare behaviour: off for the whole run, or firing now and then.
struct Site {
    dice: Dice,
    fire: f64,
    fired: u64,
}

/// Something the system told about itself.
#[derive(Debug)]
pub struct Tap<'a> {
    /// Where.
    pub node: Node,
    /// When, since the run began.
    pub at: Duration,
    /// What.
    pub name: &'static str,
    /// With what.
    pub fields: &'a [(&'static str, Value)],
}

impl Tap<'_> {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The number in the field of that name.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.field(name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        }
    }
}

/// A value in a [`Tap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number; true is 1.
    Number(i64),
    /// A text.
    Text(String),
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::Number(number as i64)
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, bool);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

/// Dies here when the plan says so, and never returns then.
pub async fn crash_point(point: &'static str) {
    let crash = with(|state| {
        let here = state.here();
        if !state.is_alive(here) {
            return None;
        }
        state.hooks.points.count(point);
        let armed = &mut state.hooks.armed;
        let is_here = |armed: &Armed| armed.node == here.node && armed.point == point;
        for armed in armed.iter_mut().filter(|armed| is_here(armed)) {
            armed.passes_left = armed.passes_left.saturating_sub(1);
        }
        let due = |armed: &Armed| is_here(armed) && armed.passes_left == 0;
        let crash = armed.remove(armed.iter().position(due)?).crash;
        state.effect(here.node, "hook.point");
        state.record(here.node, "point", &[], point.as_bytes());
        Some(crash)
    });
    if let Some(crash) = crash {
        crash_here(crash);
        pending::<()>().await;
    }
}

/// Whether the rare way is taken here now.
pub fn buggify(site: &'static str) -> bool {
    with(|state| {
        if state.hooks.buggify.is_empty() {
            return false;
        }
        let found = match state.hooks.sites.find(site) {
            Some(found) => found,
            None => {
                let mut dice = state.dice(Node::DRIVER, site);
                let rule = state.hooks.buggify.iter().rev().find(|rule| site.starts_with(&rule.prefix));
                let fire = rule.map_or(0.0, |rule| if dice.chance(rule.active) { rule.fire } else { 0.0 });
                state.hooks.sites.add(site, Site { dice, fire, fired: 0 })
            }
        };
        let fires = found.fire > 0.0 && found.dice.chance(found.fire);
        if fires {
            found.fired += 1;
            let node = state.here().node;
            state.effect(node, "hook.buggify");
        }
        fires
    })
}

/// A state was met that runs should come to. What the dead come to does not count, and nothing is recorded: a run is the
/// same with and without it.
pub fn sometimes(name: &'static str) {
    with(|state| {
        if state.is_alive(state.here()) {
            state.hooks.met.count(name);
        }
    });
}

/// Whether the planted bug of this name is on.
#[inline]
pub fn planted(name: &'static str) -> bool {
    with(|state| match state.hooks.planted.iter_mut().find(|(planted, _)| *planted == name) {
        Some((_, hits)) => {
            *hits += 1;
            true
        }
        None => false,
    })
}

/// Whether anybody listens to taps.
#[inline]
pub fn is_tapped() -> bool {
    with(|state| state.hooks.tapped)
}

/// Tells the listener. What the dead say is not heard.
pub fn tap(name: &'static str, fields: &[(&'static str, Value)]) {
    let found = with(|state| {
        let here = state.here();
        let alive = state.is_alive(here);
        let at = Duration::from_nanos(state.now());
        // Taken out while it runs: it may call the world.
        alive.then(|| Some((state.hooks.tap.take()?, here.node, at))).flatten()
    });
    if let Some((mut listener, node, at)) = found {
        listener(&Tap { node, at, name, fields });
        with(|state| {
            state.hooks.tap.get_or_insert(listener);
        });
    }
}

impl State {
    pub(crate) fn plant(&mut self, name: &'static str) {
        self.hooks.planted.push((name, 0));
    }

    pub(crate) fn planted(&self) -> BTreeMap<&'static str, u64> {
        self.hooks.planted.iter().copied().collect()
    }

    pub(crate) fn points(&self) -> BTreeMap<&'static str, u64> {
        self.hooks.points.collect(|passed| Some(*passed))
    }

    pub(crate) fn met(&self) -> BTreeMap<&'static str, u64> {
        self.hooks.met.collect(|met| Some(*met))
    }

    pub(crate) fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.hooks.sites.collect(|site| Some(site.fired).filter(|fired| *fired > 0))
    }

    pub(crate) fn allow_buggify(&mut self, prefix: &str, active: f64, fire: f64) {
        self.hooks.buggify.push(Buggify { prefix: prefix.to_owned(), active, fire });
        self.hooks.sites = Named::default();
    }

    pub(crate) fn listen(&mut self, listener: Listener) {
        self.hooks.tap = Some(listener);
        self.hooks.tapped = true;
    }
}

impl Node {
    /// The `nth` time from now (from 1) that this node passes the crash point, it dies there. Of several deaths that are due at
    /// one passage each waits for a passage of its own.
    pub fn arm(self, point: &str, nth: u64, crash: Crash) -> Arm {
        with(|state| {
            state.record(self, "fault.arm", &[nth, u64::from(crash == Crash::Power)], point.as_bytes());
            let arm = Arm(state.hooks.arms);
            state.hooks.arms += 1;
            let armed = Armed { arm, node: self, point: point.to_owned(), passes_left: nth.max(1), crash };
            state.hooks.armed.push(armed);
            arm
        })
    }

    /// Takes back all that [`Node::arm`] prepared and has not happened.
    pub fn disarm(self) {
        with(|state| state.hooks.armed.retain(|armed| armed.node != self));
    }
}

/// A death that [`Node::arm`] prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm(u64);

impl Arm {
    /// Whether it has neither happened nor been taken back.
    pub fn is_pending(self) -> bool {
        with(|state| state.hooks.armed.iter().any(|armed| armed.arm == self))
    }

    /// Takes it back if it has not happened.
    pub fn take_back(self) {
        with(|state| state.hooks.armed.retain(|armed| armed.arm != self));
    }
}
