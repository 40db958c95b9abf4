//! `night`: what runs while nobody waits: every planted bug, long plans, and a campaign of seeds that no night had before.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::outcome::{Verdict, gravest};
use lab::plan::Profile;
use lab::report::terminal;
use serde::{Deserialize, Serialize};

use super::campaign::{self, Sweep};
use super::interrupt::{self, Interrupt};
use super::mutants::Mutants;
use super::{reports, say, write_page};

/// Looks for every planted bug, runs soak plans, and standard plans for the rest of the time; reports/night.md beside the
/// report of the campaign.
///
/// Each night has seeds of its own: a million of them, from its number times a million on.
#[derive(clap::Args)]
pub(super) struct Night {
    /// How long all of it takes.
    #[arg(long, default_value_t = 8.0, value_parser = hours)]
    hours: f64,
    /// Which night it is; the days since 1970 without it.
    #[arg(long)]
    number: Option<u64>,
}

/// What a night came to, for `bar`.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) number: u64,
    pub(super) hours: f64,
    /// Until every planted bug was looked for.
    pub(super) planted_minutes: f64,
    /// Runs of soak plans.
    pub(super) soak: u64,
    /// Runs of all plans.
    pub(super) runs: u64,
    /// Those that did not pass.
    pub(super) not_passed: u64,
    pub(super) simulated_hours: f64,
    pub(super) commit: String,
}

impl Told {
    /// The last night, when there was one.
    pub(super) fn last() -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(reports().join(FILE)).ok()?).ok()
    }
}

impl Night {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let asked = Interrupt::listen()?;
        let began = Instant::now();
        let until = began + Duration::from_secs_f64(self.hours * 3600.0);
        let number = match self.number {
            Some(number) => number,
            None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / DAY_S,
        };
        let first = number * SEEDS;
        say(&format!("night {number}: every planted bug"));
        let planted = Mutants::usual().go()?;
        let planted_minutes = began.elapsed().as_secs_f64() / 60.0;
        let campaign = |name: &str, count: u64, profile| {
            say(&format!("night {number}: {name} plans from seed {first} on"));
            Sweep::beside_reports(first..first + count, profile, false).collect(&asked, Some(until))
        };
        let soak = campaign("soak", SOAK, Profile::Soak)?.close(Profile::Soak)?;
        let standard = campaign("standard", SEEDS, Profile::Standard)?.close(Profile::Standard)?;
        let (soaked, codes) = (soak.0.seeds, [planted, soak.1, standard.1]);
        let mut whole = standard.0;
        whole.merge(soak.0)?;
        campaign::write(&whole)?;
        say(terminal(&whole).trim_end());
        let told = Told {
            number,
            hours: began.elapsed().as_secs_f64() / 3600.0,
            planted_minutes,
            soak: soaked,
            runs: whole.seeds,
            not_passed: whole.seeds - whole.count(Verdict::Pass),
            simulated_hours: whole.simulated_s / 3600.0,
            commit: whole.commit,
        };
        std::fs::write(reports().join(FILE), serde_json::to_string_pretty(&told)?)?;
        write_page("night.md", &format!("Night {number}"), &told.page())?;
        Ok(if asked.is_asked() { interrupt::CODE } else { gravest(codes) })
    }
}

impl Told {
    fn page(&self) -> String {
        format!(
            "{} runs of all scenarios in {:.1} h, {:.0} simulated hours, {} of them of soak plans; {} did not pass.\n\
             All planted bugs were looked for in {:.1} min: [which were found, and how soon](mutants.md).\n\
             [The report of the runs](summary.md).\n",
            self.runs, self.hours, self.simulated_hours, self.soak, self.not_passed, self.planted_minutes
        )
    }
}

fn hours(text: &str) -> Result<f64, String> {
    let parsed = text.parse().map_err(|error| format!("{text} is no number of hours: {error}"))?;
    if (0.0..=MOST_HOURS).contains(&parsed) {
        Ok(parsed)
    } else {
        Err(format!("{text} is not within 0 to {MOST_HOURS} h"))
    }
}

/// In the folder of reports.
const FILE: &str = "night.json";
/// Seeds of a night.
const SEEDS: u64 = 1_000_000;
/// Seeds of soak plans, of each scenario.
const SOAK: u64 = 2;
const DAY_S: u64 = 24 * 3600;
const MOST_HOURS: f64 = 1000.0;
