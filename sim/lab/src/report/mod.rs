//! The report of a campaign: one summary, shown as a table on the terminal, as Markdown, as JSON,
//! as one HTML page, and to machines that show tests.

mod coverage;
mod failure;
mod junit;
mod mutants;
mod page;
mod planted;
mod summary;
mod text;

pub use coverage::unmet;
pub use failure::failure_page;
pub use junit::{github, junit};
pub use mutants::{Found, Matrix, Row, State};
pub use page::{Beside, html};
pub use summary::{Canary, Failure, ScenarioSummary, Summary};
pub use text::{markdown, terminal};

/// Thousands apart, for people.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `a 3, b 5` of a table of counts.
fn counts(table: &std::collections::BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = table.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Rule, Violation};
    use crate::outcome::{Run, Verdict};

    fn run(seed: u64, verdict: Verdict) -> Run {
        let counted =
            |pairs: &[(&str, u64)]| pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Run {
            scenario: "first_message".to_owned(),
            seed,
            drawing: crate::scenario::Drawing::default(),
            verdict,
            note: String::new(),
            violations: Vec::new(),
            trace: "00".repeat(16),
            simulated_ns: 120_000_000_000,
            cpu_ns: 200_000_000,
            check_ns: 10_000_000,
            frames: 20_000,
            events: 5_000,
            sends: counted(&[("ok", 1990), ("unknown", 10)]),
            deliveries: 2010,
            consumed: 2000,
            repeats: counted(&[("crash of the consumer", 10)]),
            worst: counted(&[]),
            planned: counted(&[("crash", 2)]),
            effects: counted(&[("node.crash", 2)]),
            idle: std::collections::BTreeSet::new(),
            checked: counted(&[("ACK-1", 1990)]),
            planted: counted(&[]),
            points: counted(&[]),
            met: counted(&[("net.silent", 3)]),
            fired: counted(&[("net.short_turn", 7)]),
            struck: ["crash".to_owned()].into(),
            features: ["sync flush".to_owned()].into(),
            knobs: [("name_servers".to_owned(), "2".to_owned())].into(),
            plan: String::new(),
            last_events: Vec::new(),
        }
    }

    fn campaign() -> Summary {
        let mut failed = run(8, Verdict::Fail);
        failed.violations.push(Violation {
            rule: Rule::Ack1,
            at_ns: 2_500_000_000,
            event: 17,
            witness: "p0#3 at t/b0/0 offset 2".to_owned(),
            sentence: "Message p0#3 <b>is</b> gone & lost.".to_owned(),
        });
        failed.plan = "plan of first_message seed 8\n".to_owned();
        failed.last_events = vec!["2.5 s #17 p0 sent p0#3: ok".to_owned()];
        let mut summary = Summary::new("cargo sim", "abc1234", "rustc 1.95.0");
        summary.add(&run(7, Verdict::Pass));
        summary.add(&failed);
        summary.finish(3.0);
        summary
    }

    #[test]
    fn the_first_line_names_the_command() {
        let summary = campaign();
        assert!(markdown(&summary).starts_with("<!-- made by: cargo sim -->"));
        assert!(html(&summary, &Beside::default()).starts_with("<!-- made by: cargo sim -->"));
        let json = serde_json::to_string(&summary).unwrap();
        assert!(json.starts_with(r#"{"made_by":"cargo sim""#), "{json}");
    }

    #[test]
    fn the_page_is_whole_and_escaped() {
        let page = html(&campaign(), &Beside::default());
        assert!(page.contains("Message p0#3 &lt;b&gt;is&lt;/b&gt; gone &amp; lost."), "{page}");
        assert!(!page.contains("<b>is</b>"));
        assert!(page.contains("cargo sim run first_message --seed 8"));
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing is loaded from elsewhere");
    }

    #[test]
    fn the_page_tells_what_was_never_met_and_whether_the_canary_failed() {
        let mut summary = campaign();
        let page = html(&summary, &Beside::default());
        assert!(
            page.contains("<strong>net.timed_out</strong>") && !page.contains("<strong>net.silent</strong>")
        );
        assert!(page.contains("--heat:1.00") && page.contains("It was not asked."));
        summary.canary = Some(Canary { command: "cargo sim run x --plant M01".to_owned(), seed: Some(2) });
        assert!(html(&summary, &Beside::default()).contains("It failed as it must"));
        summary.canary = Some(Canary { command: "cargo sim run x --plant M01".to_owned(), seed: None });
        assert!(html(&summary, &Beside::default()).contains("It did not fail"));
        assert!(page.len() < 5 << 20, "{} bytes", page.len());
    }

    #[test]
    fn a_summary_survives_its_file() {
        let summary = campaign();
        let json = serde_json::to_string(&summary).unwrap();
        let read: Summary = serde_json::from_str(&json).unwrap();
        assert_eq!(markdown(&read), markdown(&summary));
        assert_eq!(summary.verdict, Verdict::Fail);
    }

    #[test]
    fn the_table_on_the_terminal() {
        insta::assert_snapshot!(terminal(&campaign()));
    }

    #[test]
    fn machines_that_show_tests_are_told_how_to_repeat() {
        insta::assert_snapshot!("junit", junit(&campaign()).unwrap());
        insta::assert_snapshot!("github", github(&campaign()));
    }

    #[test]
    fn shards_that_are_merged_are_the_whole() {
        let shard = |seeds: &[u64]| {
            let mut summary = Summary::new("cargo sim", "abc1234", "rustc 1.95.0");
            for seed in seeds {
                let verdict = if *seed == 8 { Verdict::Unknown } else { Verdict::Pass };
                // Eighths of a second: sums of them are exact in any order.
                let (cpu_ns, check_ns) = (seed * 125_000_000, 125_000_000);
                summary.add(&Run { cpu_ns, check_ns, ..run(*seed, verdict) });
            }
            summary.wanted = seeds.len() as u64;
            summary.repeated = Some((seeds.len() as u64, 1));
            summary.finish(2.0);
            summary
        };
        let mut whole = shard(&[5, 6, 7, 8]);
        let mut merged = shard(&[5, 7]);
        merged.merge(shard(&[6, 8])).unwrap();
        (whole.wall_s, merged.wall_s, whole.repeated) = (0.0, 0.0, Some((4, 2)));
        assert_eq!(serde_json::to_value(&merged).unwrap(), serde_json::to_value(&whole).unwrap());
        let other = Summary::new("cargo sim", "def5678", "rustc 1.95.0");
        assert!(merged.merge(other).unwrap_err().to_string().contains("def5678"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1000, 1_234_567].map(grouped), ["1", "999", "1 000", "1 234 567"]);
    }
}
