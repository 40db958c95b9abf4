//! `bar`: the goals N1 to N18 of the harness, each with what was measured and what that comes to.

mod campaigns;
mod pages;
mod probes;

use std::time::{Duration, Instant};

use lab::plan::Profile;

use super::campaign::{self, Sweep};
use super::interrupt::{self, Interrupt};
use super::{reports, say, write_page};

/// Measures the goals of the harness and says of each whether it is met; reports/bar.md.
///
/// Takes about 20 minutes on two cores. N8, N9, N16 and N17 are read from what `cargo sim mutants`, `cargo sim
/// mutants --swarm`, `cargo sim night` and `cargo sim real` wrote before, N10 and N11 from the last campaign when it was larger than this one.
#[derive(clap::Args)]
pub(super) struct Bar {
    /// Little of everything, for a first look.
    #[arg(long)]
    quick: bool,
    /// Minutes for the campaigns at most; what is measured then is what was done until then.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// What a measurement comes to.
enum Verdict {
    Met,
    /// And why.
    Missed(String),
    /// And why.
    NotMeasured(String),
}

struct Row {
    id: &'static str,
    goal: &'static str,
    measured: String,
    verdict: Verdict,
}

impl Bar {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let asked = Interrupt::listen()?;
        let until = Instant::now() + Duration::from_secs(self.minutes * 60);
        let campaign = |seeds: u64, profile: Profile, check| {
            let name = profile.name();
            say(&format!("a campaign of {seeds} {name} seeds of each scenario"));
            let sweep = Sweep::beside_reports(1..seeds + 1, profile, check);
            sweep.collect(&asked, Some(until)).map(|campaign| campaign.summary)
        };
        let (quick, standard) = if self.quick { (5, 1) } else { (112, 8) };
        let quick = campaign(quick, Profile::Quick, true)?;
        let standard = campaign(standard, Profile::Standard, false)?;
        let last = campaign::read(&reports().join("summary.json")).ok();
        let largest = last.as_ref().filter(|last| last.seeds > quick.seeds).unwrap_or(&quick);
        let rows = vec![
            campaigns::speed(&quick),
            campaigns::cost(&quick, &standard),
            campaigns::rate(&quick, &standard),
            probes::memory(self.quick)?,
            probes::exactness(&quick, self.quick)?,
            probes::divergence(),
            probes::shrinking(self.quick)?,
            pages::planted_bugs(),
            pages::attribution(),
            campaigns::false_alarms(largest),
            campaigns::reach(largest),
            campaigns::effects(&quick),
            campaigns::checkers(&standard),
            probes::failure_page()?,
            probes::gate(self.quick)?,
            pages::nightly(),
            pages::real(),
            probes::points(self.quick)?,
        ];
        if asked.is_asked() {
            return Ok(interrupt::CODE);
        }
        let table = table(&rows);
        say(table.trim_end());
        write_page("bar.md", "The bar", &table)?;
        Ok(u8::from(rows.iter().any(|row| matches!(row.verdict, Verdict::Missed(_)))))
    }
}

fn judged(met: bool, why: impl Into<String>) -> Verdict {
    if met { Verdict::Met } else { Verdict::Missed(why.into()) }
}

fn not_known(id: &'static str, goal: &'static str, why: &str) -> Row {
    Row { id, goal, measured: "–".to_owned(), verdict: Verdict::NotMeasured(why.to_owned()) }
}

fn table(rows: &[Row]) -> String {
    let mut out = "| | goal | measured | verdict |\n|---|---|---|---|\n".to_owned();
    for Row { id, goal, measured, verdict } in rows {
        let verdict = match verdict {
            Verdict::Met => "met".to_owned(),
            Verdict::Missed(why) => format!("MISSED: {why}"),
            Verdict::NotMeasured(why) => format!("not measured: {why}"),
        };
        out.push_str(&format!("| {id} | {goal} | {measured} | {verdict} |\n"));
    }
    out
}
