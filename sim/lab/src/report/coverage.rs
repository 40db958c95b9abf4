//! What a campaign came to, on its page: properties, sites of rare behaviour, faults beside features, settings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::grouped;
use super::page::escape;
use crate::cover::{Coverage, FEATURES, KNOBS, Met, properties, sites};

/// Never-met properties, one a line with what each could bring to light; empty when there are none.
#[must_use]
pub fn unmet(coverage: &Coverage) -> String {
    let mut out = String::new();
    for (what, names) in [
        ("property never met", coverage.unmet().collect::<Vec<_>>()),
        ("site that never fired", coverage.unfired().collect()),
    ] {
        for (name, exposes) in names {
            let _ = writeln!(out, "{what}: {name}: {exposes}");
        }
    }
    out
}

/// All parts.
pub(super) fn sections(out: &mut String, coverage: &Coverage, runs: u64) {
    let (all, unmet) = (properties::all().count(), coverage.unmet().count());
    out.push_str("<section id=\"properties\">\n<h2>Properties</h2>\n");
    let _ = writeln!(
        out,
        "<p>States that runs must come to now and then: {} of {all} were met, {} of {} sites of rare behaviour fired.</p>",
        all - unmet,
        sites::SITES.len() - coverage.unfired().count(),
        sites::SITES.len()
    );
    missed(out, "Never met", &coverage.unmet().copied().collect::<Vec<_>>());
    missed(out, "Never fired", &coverage.unfired().copied().collect::<Vec<_>>());
    listed(out, "All properties", properties::all(), &coverage.properties);
    listed(out, "All sites of rare behaviour", sites::SITES.iter(), &coverage.sites);
    out.push_str("</section>\n");
    heat(out, coverage);
    histogram(out, coverage, runs);
}

fn missed(out: &mut String, title: &str, names: &[properties::Property]) {
    if names.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h3>{title}</h3>\n<ul>");
    for (name, exposes) in names {
        let _ = writeln!(out, "<li><strong>{}</strong> {}</li>", escape(name), escape(exposes));
    }
    out.push_str("</ul>\n");
}

fn listed<'a>(
    out: &mut String,
    title: &str,
    all: impl Iterator<Item = &'a properties::Property>,
    met: &BTreeMap<String, Met>,
) {
    let _ = writeln!(
        out,
        "<details><summary>{title}</summary>\n<div class=\"wide\"><table><thead><tr><th scope=\"col\">name</th>\
         <th scope=\"col\" class=\"text\">what it could bring to light</th><th scope=\"col\">times</th><th scope=\"col\">runs</th>\
         <th scope=\"col\" class=\"text\">first</th></tr></thead><tbody>"
    );
    for (name, exposes) in all {
        let (class, times, runs, first) = match met.get(*name) {
            Some(Met { times, runs, first: (seed, scenario) }) => {
                ("", grouped(*times), grouped(*runs), format!("{scenario} {seed}"))
            }
            None => (" class=\"bad\"", "0".to_owned(), "0".to_owned(), String::new()),
        };
        let _ = writeln!(
            out,
            "<tr{class}><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{times}</td><td>{runs}</td>\
             <td class=\"text\">{}</td></tr>",
            escape(name),
            escape(exposes),
            escape(&first)
        );
    }
    out.push_str("</tbody></table></div></details>\n");
}

/// Kinds of faults that struck, beside the features that the same runs used.
fn heat(out: &mut String, coverage: &Coverage) {
    out.push_str(
        "<section id=\"pairs\">\n<h2>Faults and features</h2>\n<p>Runs in which a kind of fault struck and a feature was used. \
         An empty place is a pair that no run tested.</p>\n<div class=\"wide\"><table class=\"heat\"><thead><tr><th scope=\"col\">fault</th>\
         <th scope=\"col\">planned</th><th scope=\"col\">struck</th>",
    );
    for feature in FEATURES {
        let _ = write!(out, "<th scope=\"col\" class=\"upright\"><span>{}</span></th>", escape(feature));
    }
    out.push_str("</tr></thead><tbody>\n");
    for (kind, planned) in &coverage.planned {
        let struck = coverage.struck.get(kind).copied().unwrap_or(0);
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{:.0} %</td>",
            escape(kind),
            grouped(*planned),
            100.0 * struck as f64 / (*planned).max(1) as f64
        );
        for feature in FEATURES {
            let both = coverage.pair(kind, feature);
            let _ = match both {
                0 => write!(out, "<td class=\"none\"></td>"),
                _ => {
                    // The square root: small counts are told apart too.
                    let share = (both as f64 / struck.max(1) as f64).sqrt().min(1.0);
                    write!(out, "<td style=\"--heat:{share:.2}\">{}</td>", grouped(both))
                }
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

/// Settings, and in how many runs each had which value.
fn histogram(out: &mut String, coverage: &Coverage, runs: u64) {
    let _ = writeln!(
        out,
        "<section id=\"knobs\">\n<h2>Settings</h2>\n<p>{} settings were drawn. Of each: its values, and in how many of a hundred \
         runs it had them. Large numbers stand for all of their magnitude.</p>\n<details><summary>All settings</summary>\n\
         <dl class=\"knobs\">",
        coverage.knobs.len()
    );
    for (knob, values) in &coverage.knobs {
        let exposes = KNOBS.iter().find(|(name, _)| name == knob).map_or("", |(_, exposes)| exposes);
        let _ = write!(out, "<div><dt>{} <small>{}</small></dt><dd>", escape(knob), escape(exposes));
        let mut values: Vec<_> = values.iter().collect();
        values.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (value, count) in values {
            let percent = 100.0 * *count as f64 / runs.max(1) as f64;
            let _ = write!(
                out,
                "<span style=\"--part:{percent:.1}%\" title=\"{} runs\">{} <small>{percent:.0}</small></span>",
                grouped(*count),
                escape(value)
            );
        }
        out.push_str("</dd></div>\n");
    }
    out.push_str("</dl></details>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_met_is_told_with_what_it_could_bring_to_light() {
        let mut coverage = Coverage::default();
        let all = properties::all().count() + sites::SITES.len();
        assert_eq!(unmet(&coverage).lines().count(), all);
        let met = Met { times: 1, runs: 1, first: (1, "swarm".to_owned()) };
        coverage.properties.insert("net.silent".to_owned(), met);
        let told = unmet(&coverage);
        assert_eq!(told.lines().count(), all - 1);
        assert!(
            told.contains("property never met: net.timed_out: ") && !told.contains("net.silent:"),
            "{told}"
        );
    }

    #[test]
    fn a_pair_that_no_run_tested_is_an_empty_place() {
        let mut coverage = Coverage::default();
        coverage.planned.insert("crash".to_owned(), 4);
        coverage.struck.insert("crash".to_owned(), 4);
        coverage.pairs.entry("crash".to_owned()).or_default().insert("delays".to_owned(), 1);
        let mut page = String::new();
        heat(&mut page, &coverage);
        assert_eq!(page.matches("class=\"none\"").count(), FEATURES.len() - 1);
        assert!(page.contains("<td style=\"--heat:0.50\">1</td>"), "{page}");
    }
}
