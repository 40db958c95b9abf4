//! The matrix of planted bugs on the page of a campaign, and as a score.

use std::fmt::Write as _;

use super::grouped;
use super::mutants::{Matrix, State};
use super::page::escape;

/// The score in a few words.
pub(super) fn headline(planted: &Matrix) -> String {
    let (found, all) = planted.score(None, 200);
    format!("{found} of {all} (commit {})", planted.commit)
}

/// The matrix.
pub(super) fn section(out: &mut String, planted: Option<&Matrix>) {
    out.push_str("<section id=\"planted\">\n<h2>Planted bugs</h2>\n");
    let Some(planted) = planted else {
        out.push_str(
            "<p>Not known: <code>cargo sim mutants</code> writes reports/mutants.json.</p>\n</section>\n",
        );
        return;
    };
    let told = [3, 20, 200].map(|seeds| {
        let (found, all) = planted.score(None, seeds);
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
        let _ = writeln!(
            out,
            "<tr{}><th scope=\"row\">{}</th><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td><td class=\"text\">{}</td><td>{}</td></tr>",
            if matches!(row.state, State::Killed | State::NoFeature) { "" } else { " class=\"bad\"" },
            escape(&row.bug),
            escape(&row.what),
            escape(row.scenario.as_deref().unwrap_or_default()),
            escape(&row.outcome()),
            escape(&found.map(|found| found.rules.join(" ")).unwrap_or_default()),
            grouped(row.hits)
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bugs;
    use crate::report::Row;

    #[test]
    fn what_survived_and_what_has_no_feature_yet_is_said() {
        let row = |bug, scenario| Row::new(bugs::find(bug).unwrap(), scenario, 1);
        let mut survived = row("M01", Some("first_message"));
        survived.add(0, None);
        let text = String::new;
        let rows = vec![survived, row("M30", None)];
        let matrix = Matrix { made_by: text(), commit: text(), toolchain: text(), rows };
        let mut page = String::new();
        section(&mut page, Some(&matrix));
        assert!(page.contains("no feature yet") && page.contains("a gap in the load"), "{page}");
        assert!(page.contains("Found by an expected rule: 0 of 1 within 3 seeds"), "{page}");
    }
}
