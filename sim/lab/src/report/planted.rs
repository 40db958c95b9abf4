//! The matrix of planted bugs, as `cargo sim mutants` left it: on the page of a campaign, and as a score.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::grouped;
use super::page::escape;

/// What `reports/mutants.json` tells.
#[derive(Clone, Debug, Deserialize)]
pub struct Planted {
    /// Of the code that ran.
    pub commit: String,
    /// Bugs in scenarios.
    pub rows: Vec<Row>,
}

/// One bug in one scenario.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Its name.
    pub bug: String,
    /// What goes wrong.
    #[serde(default)]
    pub what: String,
    /// The scenario; none: the feature it is a bug of is not there yet.
    pub scenario: Option<String>,
    /// How often it was passed.
    pub hits: u64,
    /// The first seed that failed.
    pub noticed: Option<Found>,
    /// The first seed that failed by an expected rule.
    pub killed: Option<Found>,
    /// What this comes to.
    pub state: String,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Counted from 1.
    pub seed: u64,
    /// Rules that fired.
    pub rules: Vec<String>,
}

impl Planted {
    /// Bugs whose feature is there, with their rows.
    fn bugs(&self) -> BTreeMap<&str, Vec<&Row>> {
        let mut bugs: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.scenario.is_some()) {
            bugs.entry(&row.bug).or_default().push(row);
        }
        bugs
    }

    /// Bugs that an expected rule found within so many seeds of some scenario, and all that were tried.
    #[must_use]
    pub fn score(&self, seeds: u64) -> (usize, usize) {
        let soon = |row: &&Row| row.killed.as_ref().is_some_and(|found| found.seed <= seeds);
        let bugs = self.bugs();
        (bugs.values().filter(|rows| rows.iter().any(soon)).count(), bugs.len())
    }

    /// Bugs whose first failing seed failed by an expected rule, and all that were noticed.
    #[must_use]
    pub fn attributed(&self) -> (usize, usize) {
        let bugs = self.bugs();
        let noticed = bugs.values().filter(|rows| rows.iter().any(|row| row.noticed.is_some()));
        let rightly = |row: &&Row| row.noticed.is_some() && row.noticed == row.killed;
        (noticed.clone().filter(|rows| rows.iter().any(rightly)).count(), noticed.count())
    }

    /// The score in a few words.
    #[must_use]
    pub fn headline(&self) -> String {
        let (found, all) = self.score(200);
        format!("{found} of {all} (commit {})", self.commit)
    }
}

/// The matrix.
pub(super) fn section(out: &mut String, planted: Option<&Planted>) {
    out.push_str("<section id=\"planted\">\n<h2>Planted bugs</h2>\n");
    let Some(planted) = planted else {
        out.push_str(
            "<p>Not known: <code>cargo sim mutants</code> writes reports/mutants.json.</p>\n</section>\n",
        );
        return;
    };
    let told = [3, 20, 200].map(|seeds| {
        let (found, all) = planted.score(seeds);
        format!("{found} of {all} within {seeds} seeds")
    });
    let (right, noticed) = planted.attributed();
    let _ = writeln!(
        out,
        "<p>Commit {}. Found by an expected rule: {}. In the first seed that failed an expected rule was among those that fired: \
         {right} of {noticed}.</p>\n<div class=\"wide\"><table><thead><tr><th scope=\"col\">bug</th><th scope=\"col\" class=\"text\">what goes \
         wrong</th><th scope=\"col\" class=\"text\">scenario</th><th scope=\"col\">seeds</th><th scope=\"col\" class=\"text\">rules that \
         fired</th><th scope=\"col\">hits</th></tr></thead><tbody>",
        escape(&planted.commit),
        told.join(", ")
    );
    for row in &planted.rows {
        let found = row.killed.as_ref().or(row.noticed.as_ref());
        let seeds = match &row.killed {
            Some(found) => grouped(found.seed),
            None => row.state.replace('_', " "),
        };
        let _ = writeln!(
            out,
            "<tr{}><th scope=\"row\">{}</th><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td><td class=\"text\">{}</td><td>{}</td></tr>",
            if row.killed.is_none() && row.scenario.is_some() { " class=\"bad\"" } else { "" },
            escape(&row.bug),
            escape(&row.what),
            escape(row.scenario.as_deref().unwrap_or("no feature yet")),
            escape(&seeds),
            escape(&found.map(|found| found.rules.join(" ")).unwrap_or_default()),
            grouped(row.hits)
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_counts_bugs_not_rows() {
        let text = r#"{ "made_by": "cargo sim mutants", "commit": "abc", "rows": [
            { "bug": "M01", "scenario": "swarm", "hits": 3, "noticed": { "seed": 1, "rules": ["L-4"] },
              "killed": { "seed": 4, "rules": ["ACK-5"] }, "state": "killed" },
            { "bug": "M01", "scenario": "first_message", "hits": 0, "noticed": null, "killed": null, "state": "workload_gap" },
            { "bug": "M30", "scenario": null, "hits": 0, "noticed": null, "killed": null, "state": "no_feature" } ] }"#;
        let planted: Planted = serde_json::from_str(text).unwrap();
        assert_eq!([3, 20].map(|seeds| planted.score(seeds)), [(0, 1), (1, 1)]);
        assert_eq!(planted.attributed(), (0, 1), "another rule was first");
        let mut page = String::new();
        section(&mut page, Some(&planted));
        assert!(page.contains("no feature yet") && page.contains("workload gap"), "{page}");
    }
}
