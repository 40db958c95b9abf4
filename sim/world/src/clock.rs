//! The wall clock of each node: it may be set wrong, jump and drift. The monotonic clock stays sane.

use crate::{
    node::Node,
    state::{State, with},
};

/// What a node believes the time to be, as a line through one point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    /// Nanoseconds of the run at the point.
    at: u64,
    /// How far the clock was ahead there, in nanoseconds.
    ahead: i128,
    drift_ppm: i64,
    /// Changed since the node last looked: a clock nobody reads is no fault.
    unseen: Option<&'static str>,
}

impl WallClock {
    pub(crate) const RIGHT: Self = Self { at: 0, ahead: 0, drift_ppm: 0, unseen: None };

    fn ahead(&self, now: u64) -> i128 {
        self.ahead + i128::from(now - self.at) * i128::from(self.drift_ppm) / 1_000_000
    }

    fn change(&mut self, now: u64, ahead: i128, drift_ppm: i64, why: &'static str) {
        let same = ahead == self.ahead(now) && drift_ppm == self.drift_ppm;
        let unseen = if same { self.unseen } else { Some(why) };
        *self = Self { at: now, ahead, drift_ppm, unseen };
    }
}

impl State {
    /// What the node's wall clock shows.
    pub(crate) fn wall_ms(&mut self, node: Node) -> i64 {
        let now = self.now();
        let clock = &mut self.machine(node).clock;
        let unseen = clock.unseen.take();
        let shown = i128::from(now) + clock.ahead(now);
        if let Some(why) = unseen {
            self.effect(node, why);
        }
        self.epoch_ms + shown.div_euclid(1_000_000) as i64
    }
}

/// A node's wall clock, for the plan to play with.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub(crate) Node);

impl Clock {
    /// Sets the clock `ms` ahead of (or, negative, behind) the true time.
    pub fn set_offset_ms(self, ms: i64) {
        self.change("clock.offset", ms, |clock, now| {
            clock.change(now, i128::from(ms) * 1_000_000, clock.drift_ppm, "clock.offset");
        });
    }

    /// Makes the clock jump by `ms`.
    pub fn jump_ms(self, ms: i64) {
        self.change("clock.jump", ms, |clock, now| {
            clock.change(now, clock.ahead(now) + i128::from(ms) * 1_000_000, clock.drift_ppm, "clock.jump");
        });
    }

    /// Makes the clock run `ppm` millionths too fast (or, negative, too slow) from now on.
    pub fn set_drift_ppm(self, ppm: i64) {
        self.change("clock.drift", ppm, |clock, now| {
            clock.change(now, clock.ahead(now), ppm, "clock.drift");
        });
    }

    /// What the clock shows.
    pub fn now_ms(self) -> i64 {
        with(|state| state.wall_ms(self.0))
    }

    fn change(self, kind: &'static str, amount: i64, change: impl FnOnce(&mut WallClock, u64)) {
        with(|state| {
            let now = state.now();
            change(&mut state.machine(self.0).clock, now);
            state.record(self.0, kind, &[amount as u64], b"");
        });
    }
}
