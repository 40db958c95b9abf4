//! A scenario: what could go wrong, and how a plan that tries it is drawn from a seed.

use serde::{Deserialize, Serialize};

use crate::check::Rule;
use crate::plan::{Plan, Profile};
use crate::swarm;

/// One scenario. Its file in `scenarios/` makes one of these; a line in the list there makes it known.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it proves, in a sentence or two.
    pub proves: &'static str,
    /// What could go wrong: the bugs it is out for.
    pub hunts: &'static str,
    /// Issues of the reference where it did go wrong.
    pub upstream: &'static [&'static str],
    /// Rules it is about; all the others are judged as well.
    pub rules: &'static [Rule],
    /// Planted bugs it must find, by their names in [`crate::bugs`].
    pub kills: &'static [&'static str],
    /// Draws a plan.
    pub plan: fn(u64, Profile) -> Plan,
}

/// How plans are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawing {
    /// How large.
    pub profile: Profile,
    /// With faults beyond all tolerance; only what must never happen is judged.
    pub safety_only: bool,
}

impl Scenario {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(&self, seed: u64, drawing: Drawing) -> Plan {
        let mut plan = (self.plan)(seed, drawing.profile);
        swarm::fill(&mut plan);
        swarm::relieve(&mut plan);
        if drawing.safety_only && !plan.safety_only {
            swarm::storms(&mut plan);
        }
        plan
    }

    /// The usual plan of a seed.
    #[must_use]
    pub fn usual(&self, seed: u64) -> Plan {
        self.draw(seed, Drawing::default())
    }
}
