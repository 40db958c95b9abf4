//! `cover`: what the last campaign never came to.

use lab::cover::{Coverage, FEATURES};
use lab::report::unmet;

use super::{campaign, reports, say};

/// Lists what the last campaign never met: properties, sites of rare behaviour, pairs of a fault and a feature, and kinds of
/// faults that are felt too rarely. Exit code 1 when a property was never met.
#[derive(clap::Args)]
pub(super) struct Cover {
    /// The summary of another campaign.
    #[arg(long, value_name = "FILE")]
    summary: Option<std::path::PathBuf>,
}

impl Cover {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let file = self.summary.unwrap_or_else(|| reports().join("summary.json"));
        let summary = campaign::read(&file)?;
        let coverage = &summary.coverage;
        say(unmet(coverage).trim_end());
        pairs(coverage)
            .iter()
            .for_each(|(kind, feature)| say(&format!("never together: {kind} and {feature}")));
        for (kind, share) in weak(coverage) {
            say(&format!("felt in {:.0} % of the runs that planned it: {kind}", share * 100.0));
        }
        let missing = coverage.unmet().count();
        say(&format!("{missing} properties never met in {} runs", summary.seeds));
        Ok(u8::from(missing > 0))
    }
}

/// Kinds of faults and features that no run had together.
pub(super) fn pairs(coverage: &Coverage) -> Vec<(&str, &'static str)> {
    let kinds = coverage.planned.keys().map(String::as_str);
    let all = kinds.flat_map(|kind| FEATURES.iter().map(move |feature| (kind, *feature)));
    all.filter(|(kind, feature)| coverage.pair(kind, feature) == 0).collect()
}

/// Kinds of faults that struck in fewer than 95 of 100 runs that planned them, and in how many.
pub(super) fn weak(coverage: &Coverage) -> Vec<(&str, f64)> {
    let share = |(kind, planned): (&'_ String, &u64)| {
        coverage.struck.get(kind).copied().unwrap_or(0) as f64 / (*planned).max(1) as f64
    };
    let all = coverage.planned.iter().map(|row| (row.0.as_str(), share(row)));
    all.filter(|(_, share)| *share < 0.95).collect()
}
