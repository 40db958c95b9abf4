//! One failure as one HTML page that needs nothing else: nine parts, from the broken promise to all options.

mod chart;
mod look;

use std::fmt::Write as _;

use super::page::escape;
use crate::explain::cause::Cause;
use crate::explain::disk::{After, Death, Record, Sector};
use crate::explain::grid::Grid;
use crate::explain::story::{Line, Tone};
use crate::explain::{Page, schedule};
use look::{SCRIPT, STYLE};

/// The page of a failure.
#[must_use]
pub fn failure_page(page: &Page) -> String {
    let mut out = format!(
        "<!-- made by: {} -->\n<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n<title>{} broken: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&page.again.explain).replace("--", "- -"),
        page.rule.id(),
        escape(&page.run.0),
    );
    promise(&mut out, page);
    repeat(&mut out, page);
    faults(&mut out, page);
    diagram(&mut out, page);
    story(&mut out, page);
    grids(&mut out, page);
    disks(&mut out, page);
    parting(&mut out, page);
    options(&mut out, page);
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn promise(out: &mut String, page: &Page) {
    let rule = page.rule;
    let _ = write!(
        out,
        "<header>\n<p class=\"kicker\"><span class=\"number\">1</span> <span class=\"badge\">{0}</span> A promise of the messaging system was broken in \
         simulation: scenario {1}, seed {2}</p>\n<h1>{3}</h1>\n<p class=\"where\">{4}</p>\n<p class=\"rule\"><strong>{0}, the \
         promise:</strong> {5}</p>\n",
        rule.id(),
        escape(&page.run.0),
        page.run.1,
        escape(&page.sentence),
        escape(&page.place),
        escape(rule.promise())
    );
    if let Some(it) = &page.cause {
        cause(out, it);
    }
    if !page.others.is_empty() {
        let times =
            if page.others.len() == 1 { "once".to_owned() } else { format!("{} times", page.others.len()) };
        let _ = writeln!(out, "<details><summary>The same run broke promises {times} more</summary><ul>");
        for (rule, sentence) in &page.others {
            let _ = writeln!(out, "<li><strong>{}</strong> {}</li>", rule.id(), escape(sentence));
        }
        out.push_str("</ul></details>\n");
    }
    out.push_str(
        "<p class=\"dim\">How to read names: ns0 is a name server, b0 a broker, p0 a producer, c0 a consumer, each a process on a \
         machine of its own; lab is the test itself. p0#3 is the message that producer p0 made after three others. A queue \
         belongs to a topic and lies on one broker: topic0/b0/3 is queue 3 of topic0 on b0; an offset is a place in a queue, a position a place in the broker's log. \
         Times count from the start of the run, on one clock that all share.</p>\n</header>\n",
    );
}

/// The first wrong step: what was expected, what was, on what it hangs, and where it was noticed.
fn cause(out: &mut String, cause: &Cause) {
    let title = match (cause.is_known, cause.at_ns) {
        (true, Some(_)) => "The first wrong step",
        (true, None) => "What never came",
        _ => "Where it shows; what went wrong first is not known from the history",
    };
    let at = cause.at_ns.map_or(String::new(), |at| format!("{}, {}: ", micros(at), escape(&cause.node)));
    let _ = writeln!(
        out,
        "<div class=\"cause\"><h2>{title}</h2><p><strong>{at}</strong>{}</p><dl>",
        escape(&cause.text)
    );
    let mut row = |name: &str, text: &str| {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{text}</dd>");
    };
    row("expected", &escape(&cause.expected));
    row("actual", &escape(&cause.actual));
    if let Some(clause) = cause.clause {
        row("part of the promise", &escape(clause));
    }
    for line in &cause.noticed {
        row("noticed", &escape(line));
    }
    for hang in &cause.hangs {
        let text = format!(
            "<code>{} = {}</code>: {}",
            escape(&hang.name),
            escape(&hang.value),
            escape(hang.decides)
        );
        row("set in this run", &text);
    }
    out.push_str("</dl></div>\n");
}

fn head(out: &mut String, number: u32, id: &str, title: &str) {
    let _ = writeln!(out, "<section id=\"{id}\"><h2><span class=\"number\">{number}</span> {title}</h2>");
}

fn repeat(out: &mut String, page: &Page) {
    head(out, 2, "repeat", "Repeat it");
    let again = &page.again;
    let lines = [Some(&again.replay), again.seed.as_ref(), Some(&again.explain)];
    let words = ["the plan of this page, to the bit", "the plan it was made from, by its seed", "this page"];
    for (line, words) in lines.into_iter().zip(words).filter_map(|(line, words)| Some((line?, words))) {
        let _ = writeln!(
            out,
            "<p class=\"command\"><button type=\"button\" class=\"copy\" title=\"Copy\"><code>{}</code></button> <span \
             class=\"dim\">{words}</span></p>",
            escape(line)
        );
    }
    let _ = writeln!(
        out,
        "<p class=\"dim\">Commit {}, {}. The run follows from its plan alone: it repeats on every machine.</p></section>",
        escape(&again.commit),
        escape(&again.toolchain)
    );
}

fn faults(out: &mut String, page: &Page) {
    head(out, 3, "faults", "The faults it needs");
    let shrinking = &page.shrinking;
    let left = match (shrinking.skipped, shrinking.minimal, page.faults.len()) {
        (true, _, 1) if needed(page) == 1 => {
            "The plan was not made smaller. This fault is needed: without it the promise is kept.".to_owned()
        }
        (true, _, _) => {
            "The plan was not made smaller: some of these faults may have nothing to do with the failure."
                .to_owned()
        }
        (_, false, 0) => format!(
            "No fault is needed at all; the search for a smaller plan ended after {} runs, before all was tried.",
            shrinking.tried
        ),
        (_, false, all) if needed(page) >= all => format!(
            "{} The search for a smaller plan ended after {} runs, so there may be less load that still fails.",
            if all == 1 {
                "This fault is needed: without it the promise is kept."
            } else {
                "Each of these faults is needed: without any one of them the promise is kept."
            },
            shrinking.tried
        ),
        (_, false, all) => format!(
            "The search for a smaller plan ended after {} runs, before all was tried: of these {all} faults {} known to be needed.",
            shrinking.tried,
            match needed(page) {
                0 => "none is".to_owned(),
                1 => "one is".to_owned(),
                more => format!("{more} are"),
            }
        ),
        (_, true, 0) => format!(
            "No fault is needed at all: {} runs took away one thing after the other, and it still fails.",
            shrinking.tried
        ),
        (_, true, 1) => {
            format!(
                "{} runs were tried: this fault is needed, without it the promise is kept.",
                shrinking.tried
            )
        }
        (_, true, _) => format!(
            "The list is 1-minimal: {} runs were tried, and without any one of these faults the promise is kept.",
            shrinking.tried
        ),
    };
    let _ = writeln!(out, "<p>{left}</p>");
    if !page.faults.is_empty() {
        out.push_str(
            "<div class=\"wide\"><table><thead><tr><th>time</th><th>for</th><th>fault</th><th>what it changed</th></tr></thead><tbody>\n",
        );
        for fault in &page.faults {
            let (from, lasts) = fault.from_ns.map_or(("not reached".to_owned(), String::new()), |from| {
                (seconds(from), format!("{:.1} s", fault.until_ns.saturating_sub(from) as f64 / 1e9))
            });
            let _ = writeln!(
                out,
                "<tr><td class=\"time\">{from}</td><td class=\"time\">{lasts}</td><td><strong>{}</strong> {}</td><td>{}</td></tr>",
                escape(fault.kind),
                escape(&fault.what),
                escape(&effects(fault))
            );
        }
        out.push_str("</tbody></table></div>\n");
        chart::bands(out, page);
    }
    out.push_str("<div class=\"wide\"><table class=\"small\"><thead><tr><th></th><th>as it was drawn</th><th>here</th></tr></thead><tbody>\n");
    for (what, before, now) in &page.counts {
        let class = if before == now { "" } else { " class=\"changed\"" };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{what}</th><td>{}</td><td{class}>{}</td></tr>",
            escape(before),
            escape(now)
        );
    }
    out.push_str("</tbody></table></div>\n");
    if !page.needed.is_empty() {
        out.push_str("<p>The promise is kept</p><ul>\n");
        items(out, &page.needed);
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}

/// Faults without each of which the promise is kept.
fn needed(page: &Page) -> usize {
    page.needed.iter().filter(|line| line.starts_with("without the fault")).count()
}

fn effects(fault: &schedule::Row) -> String {
    let shown = effects_alone(fault);
    match &fault.point {
        Some((point, true)) => format!("{shown}; the point {point} was reached"),
        // A point of the recovery needs a start: the node is taken down for that first.
        Some((point, false)) if !fault.effects.is_empty() => format!(
            "{shown}; the point {point} was not reached: it went down once, to start again, and not again at that point"
        ),
        Some((point, false)) => format!("{shown}; the point {point} was not reached"),
        None => shown,
    }
}

fn effects_alone(fault: &schedule::Row) -> String {
    let parts: Vec<String> =
        fault.effects.iter().map(|(name, count)| format!("{} {}", plain(name), *count)).collect();
    match (parts.is_empty(), fault.felt, fault.from_ns) {
        (false, ..) => parts.join(", "),
        (_, _, None) => "nothing: the run ended before".to_owned(),
        (_, true, _) => "felt, not counted".to_owned(),
        _ => "nothing".to_owned(),
    }
}

/// An effect counter in words.
fn plain(name: &str) -> &str {
    match name {
        "node.crash" => "processes killed",
        "node.power" => "machines without power",
        "node.pause" => "processes that stood still",
        "node.slow" => "moments of standing still",
        "net.block" => "pieces of data held back",
        "net.late" => "packets slowed down",
        "net.loss" => "packets lost",
        "net.reset" => "connections broken",
        "net.close" => "connections closed",
        "net.backlog" => "connections refused",
        "clock.jump" => "clock jumps",
        "clock.drift" => "clocks drifting",
        "disk.lost_sectors" => "disk sectors put back to what was synced:",
        "disk.intermediate_sectors" => "disk sectors put back to an older write:",
        "disk.lost_names" => "file names lost",
        "disk.short_files" => "files cut short",
        "disk.failed_sync" => "syncs failed",
        "disk.failed_fetch" => "reads failed",
        "disk.failed_names" => "file operations failed",
        "disk.full" => "writes refused for want of room",
        "disk.cut_write" => "writes cut",
        "hook.point" => "crash points struck",
        "operator.delete" => "topics deleted",
        "operator.permit" => "permissions changed",
        "operator.unwritable" => "permissions wiped",
        "disk.replaced" => "disks lost",
        "node.stop" => "processes stopped cleanly",
        other => other,
    }
}

fn diagram(out: &mut String, page: &Page) {
    head(out, 4, "diagram", "Who told whom what");
    let space = &page.space;
    out.push_str(
        "<p class=\"dim\">Time runs down; rows are as far apart as it takes to read them, not as the clock says. Arrows are \
         requests (solid) and answers (dashed) by name; thick ones carry the message; red ones never arrived. Dots are steps of the \
         story below, the red one is the first wrong step. Point at an arrow or a dot, or reach it by Tab, for its header fields.</p>\n\
         <div class=\"switch\"><input type=\"radio\" name=\"cone\" id=\"near\" checked><label for=\"near\">what has to do with it</label>\
         <input type=\"radio\" name=\"cone\" id=\"all\"><label for=\"all\">everything at that time</label>\n",
    );
    let centre = page.cause.as_ref().and_then(|cause| cause.at_ns);
    for (class, drawing) in [("near", &space.near), ("all", &space.all)] {
        let _ = writeln!(out, "<div class=\"drawing {class}\">");
        chart::drawing(out, drawing, class, centre);
        if drawing.left_out > 0 {
            let _ =
                writeln!(out, "<p class=\"dim\">{} arrows farther away are not drawn.</p>", drawing.left_out);
        }
        out.push_str("</div>\n");
    }
    out.push_str(
        "<pre class=\"tip\" aria-live=\"polite\">Point at an arrow or a dot.</pre></div></section>\n",
    );
}

fn story(out: &mut String, page: &Page) {
    head(out, 5, "story", &format!("The story of {}", escape(&page.story.about)));
    out.push_str("<div class=\"wide\"><table class=\"story\"><thead><tr><th>time</th><th>where</th><th>step</th><th>what happened</th></tr></thead><tbody>\n");
    let mut last = None;
    for line in &page.story.lines {
        let gap = last.map_or(0, |last| line.at_ns.saturating_sub(last));
        if gap > LONG_PAUSE {
            let _ = writeln!(
                out,
                "<tr class=\"gap\"><td></td><td></td><td></td><td>{:.1} s later</td></tr>",
                gap as f64 / 1e9
            );
        }
        last = Some(line.at_ns);
        story_line(out, line);
    }
    out.push_str("</tbody></table></div>\n");
    if page.story.left_out > 0 {
        let _ =
            writeln!(out, "<p class=\"dim\">{} steps farther away are not shown.</p>", page.story.left_out);
    }
    out.push_str("</section>\n");
}

fn story_line(out: &mut String, line: &Line) {
    let (class, flag) = match line.tone {
        Tone::Plain => ("", ""),
        Tone::Fault => (" class=\"fault\"", ""),
        Tone::Wrong => (" class=\"wrong\"", "<strong>The first wrong step.</strong> "),
        Tone::Noticed if line.step == "noticed" => (" class=\"noticed\"", "<strong>Noticed here.</strong> "),
        Tone::Noticed => (" class=\"noticed\"", "<strong>It shows here.</strong> "),
        Tone::Missing => (" class=\"missing\"", "<strong>Missing.</strong> "),
    };
    let at = if line.node.is_empty() { "in the end".to_owned() } else { micros(line.at_ns) };
    let _ = writeln!(
        out,
        "<tr{class}><td class=\"time\">{at}</td><td>{}</td><td>{}</td><td>{flag}{}{}</td></tr>",
        escape(&line.node),
        escape(line.step),
        escape(&line.text),
        line.verdict.as_ref().map_or(String::new(), |verdict| format!(
            "<br><b>expected</b> {}<br><b>actual</b> {}",
            escape(&verdict.expected),
            escape(&verdict.actual)
        ))
    );
}

fn grids(out: &mut String, page: &Page) {
    head(out, 6, "grid", "The queue, look by look");
    if page.grids.is_empty() {
        out.push_str("<p>No queue has to do with it.</p></section>\n");
        return;
    }
    out.push_str(
        "<p class=\"dim\">Each row is a moment at which somebody saw the queue, each column an offset. A message has one colour \
         everywhere. The thick line is the offset the group has committed: what stands left of it counts as done.</p>\n",
    );
    page.grids.iter().for_each(|grid| queue_grid(out, grid));
    out.push_str("</section>\n");
}

fn queue_grid(out: &mut String, grid: &Grid) {
    let group = grid.group.as_ref().map_or(String::new(), |group| format!(", group {}", escape(group)));
    let lives = if grid.lives.is_empty() { String::new() } else { format!(": {}", escape(&grid.lives)) };
    let _ = writeln!(
        out,
        "<h3>{}{group}{lives}</h3><div class=\"wide\"><table class=\"grid\"><thead><tr><th>time</th><th>who</th>",
        escape(&grid.queue)
    );
    for column in 0..grid.columns as u64 {
        let offset = grid.first + column;
        let class = if grid.witness == Some(offset) { " class=\"witness\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{class}>{offset}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in &grid.rows {
        let class = match (row.marked, row.cut) {
            (true, _) => " class=\"marked\"",
            (_, true) => " class=\"cut\"",
            _ => "",
        };
        let moves = row.committed.filter(|_| row.moves).map_or(String::new(), |to| format!(" {to}"));
        let _ = write!(
            out,
            "<tr{class}><td class=\"time\">{}</td><td class=\"who\">{}{moves}</td>",
            seconds(row.at_ns),
            escape(&row.who)
        );
        for (column, cell) in (grid.first..).zip(&row.cells) {
            let line = match row.committed {
                Some(to) if to == column => " from",
                Some(to) if to == column + 1 && column + 1 == grid.first + grid.columns as u64 => " until",
                _ => "",
            };
            let _ = match cell {
                Some(cell) => write!(
                    out,
                    "<td class=\"v{line}\" style=\"--h:{}\">{}</td>",
                    cell.colour.wrapping_mul(137) % 360,
                    escape(&cell.value)
                ),
                None => write!(out, "<td class=\"{}\"></td>", line.trim()),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    if grid.left_out > 0 {
        let _ = writeln!(out, "<p class=\"dim\">{} looks farther away are not shown.</p>", grid.left_out);
    }
}

fn disks(out: &mut String, page: &Page) {
    head(out, 7, "disk", "The disk at each crash");
    if page.deaths.is_empty() {
        out.push_str("<p>No broker that has to do with it crashed while faults were on.</p></section>\n");
        return;
    }
    page.deaths.iter().for_each(|death| one_death(out, death));
    out.push_str("</section>\n");
}

fn one_death(out: &mut String, death: &Death) {
    let how = match death.power {
        true => "loses its power: what was not synced may be lost, sector by sector",
        false => "is killed: what was written stays, as the system keeps the page cache",
    };
    let _ = writeln!(out, "<h3>{}: {} {how}</h3>", micros(death.at_ns), escape(&death.node));
    if death.files.is_empty() {
        let _ = writeln!(out, "<p>All of its {} files were synced.</p>", death.others);
    } else {
        out.push_str(
            "<div class=\"wide\"><table class=\"stack\"><thead><tr><th>file</th><th>written to</th><th>synced to</th>\
             <th>sectors not synced</th><th>kept</th><th>put back to what was synced</th><th>put back to an older write</th></tr></thead><tbody>\n",
        );
        for file in &death.files {
            let gone = if file.gone { " (its name is lost)" } else { "" };
            let bad = |count: usize| if count > 0 { "num bad" } else { "num" };
            let _ = writeln!(
                out,
                "<tr><td class=\"path\">{}{gone}</td>{}{}{}{}{}{}</tr>",
                escape(&file.path),
                cell("num", "written to", &file.written.to_string()),
                cell("num", "synced to", &file.synced.to_string()),
                cell("num", "sectors not synced", &file.at_risk.to_string()),
                cell("num", "kept", &file.kept.to_string()),
                cell(bad(file.lost), "put back to what was synced", &file.lost.to_string()),
                cell(bad(file.torn), "put back to an older write", &file.torn.to_string())
            );
        }
        let _ = writeln!(
            out,
            "</tbody></table></div><p class=\"dim\">{}. A sector is 512 bytes. An older write may hold the same as what was \
             synced: such a sector is counted here as put back to what was synced.</p>",
            match death.others {
                0 => "No other file was there".to_owned(),
                1 => "1 other file was synced as a whole".to_owned(),
                more => format!("{more} other files were synced as a whole"),
            }
        );
    }
    if !death.sectors.is_empty() {
        out.push_str("<p>Sectors that do not hold what was written last:</p><ul>\n");
        death.sectors.iter().for_each(|it| sector(out, it));
        out.push_str("</ul>\n");
    }
    if !death.records.is_empty() {
        out.push_str(
            "<div class=\"wide\"><table class=\"stack\"><thead><tr><th>record of the log</th><th>message</th><th>place</th><th>answered OK</th><th>synced</th><th>after the next start</th></tr></thead><tbody>\n",
        );
        death.records.iter().for_each(|record| log_record(out, record));
        out.push_str("</tbody></table></div>\n");
        if death.records.iter().any(|it| it.acknowledged && !it.promised && it.after != After::There) {
            out.push_str(
                "<p class=\"dim\">This broker answers OK before the record is durable (sync_flush is false): that a record is \
                 gone after a loss of power is allowed, but not that it is there and damaged.</p>\n",
            );
        }
    }
    if let Some(end) = death.recovered {
        let _ = writeln!(out, "<p>The next start found the end of the log at {end}.</p>");
    }
    for line in &death.audit {
        let _ = writeln!(out, "<p class=\"dim\">Files looked at {}</p>", escape(line));
    }
}

/// A cell that names its column where the head of the table is not shown.
fn cell(class: &str, name: &str, text: &str) -> String {
    format!("<td class=\"{class}\" data-name=\"{name}\">{}</td>", escape(text))
}

fn sector(out: &mut String, sector: &Sector) {
    let of = match sector.of.is_empty() {
        true => String::new(),
        false => format!(": part of {}", sector.of.join(", of ")),
    };
    let _ = writeln!(
        out,
        "<li>{} to {} <span class=\"path\">({})</span>, put back to {}{}</li>",
        sector.from,
        sector.until,
        escape(&sector.path),
        if sector.synced { "what was synced" } else { "an older write" },
        escape(&of)
    );
}

fn log_record(out: &mut String, record: &Record) {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let class = match (record.is_broken(), record.ours) {
        (true, _) => " class=\"wrong\"",
        (_, true) => " class=\"ours\"",
        _ => "",
    };
    let after = match record.after {
        After::There => "there",
        After::CutOff => "whole, but cut off by the recovery",
        After::Kept => "damaged, but kept by the recovery",
        After::Gone => "gone",
    };
    let told = record.acknowledged && record.promised && record.after != After::There;
    let message = format!("{}{}", record.message, if record.ours { " (this story)" } else { "" });
    let _ = writeln!(
        out,
        "<tr{class}>{}{}{}{}{}{}</tr>",
        cell("num", "record of the log", &format!("{} to {}", record.position, record.end)),
        cell("", "message", &message),
        cell("", "place", &record.place),
        cell("", "answered OK", yes(record.acknowledged)),
        cell("", "synced", yes(record.synced)),
        cell(
            "",
            "after the next start",
            &format!("{after}{}", if told { ", though it was answered OK" } else { "" })
        )
    );
}

fn parting(out: &mut String, page: &Page) {
    head(out, 8, "passing", "The nearest run that keeps the promise");
    let Some(parting) = &page.parting else {
        out.push_str("<p>None was looked for, or none of the runs nearby passes.</p></section>\n");
        return;
    };
    let _ = writeln!(
        out,
        "<p>The same run {} keeps the promise. Both are the same for {}, until {}.</p>",
        escape(&parting.without),
        if parting.same == 1 { "1 event".to_owned() } else { format!("{} events", parting.same) },
        micros(parting.at_ns)
    );
    if let Some((ours, theirs)) = &parting.counterpart {
        let _ = writeln!(
            out,
            "<table class=\"both\"><tbody><tr class=\"wrong\"><th scope=\"row\">this run fails</th><td>{}</td></tr>\
             <tr><th scope=\"row\">that run passes</th><td>{}</td></tr></tbody></table>",
            escape(ours),
            escape(theirs)
        );
    }
    out.push_str(
        "<p>Where they part, event by event; what both do stands in one row:</p><div class=\"wide\"><table><thead><tr>\
         <th>this run fails</th><th>that run passes</th><th>what happens</th></tr></thead><tbody>\n",
    );
    for row in &parting.rows {
        let time = |at: Option<u64>| at.map_or("-".to_owned(), micros);
        let class = if row.fails_ns.is_some() && row.passes_ns.is_some() { "" } else { " class=\"ours\"" };
        let _ = writeln!(
            out,
            "<tr{class}><td class=\"time\">{}</td><td class=\"time\">{}</td><td>{}</td></tr>",
            time(row.fails_ns),
            time(row.passes_ns),
            escape(&row.what)
        );
    }
    out.push_str("</tbody></table></div>\n");
    if parting.ours != parting.theirs {
        let _ = writeln!(
            out,
            "<details><summary>The story above, step by step in both</summary><dl><dt>this run fails</dt><dd>{}</dd><dt>that run \
             passes</dt><dd>{}</dd></dl></details>",
            steps(&parting.ours),
            steps(&parting.theirs)
        );
    }
    out.push_str("</section>\n");
}

fn steps(steps: &[(String, bool)]) -> String {
    let words = steps.iter().map(|(step, wrong)| match wrong {
        true => format!("<span class=\"wrong-step\">{}</span>", escape(step)),
        false => escape(step),
    });
    words.collect::<Vec<_>>().join(" → ")
}

fn options(out: &mut String, page: &Page) {
    head(out, 9, "options", "Everything else");
    let changed = page.options.iter().filter(|row| row.usual.is_some()).count();
    let _ = writeln!(
        out,
        "<details><summary>All {} options of the run, {changed} of them not as usual</summary><div class=\"wide\"><table><thead><tr>\
         <th>option</th><th>here</th><th>usual</th></tr></thead><tbody>",
        page.options.len()
    );
    for row in &page.options {
        let class = if row.usual.is_some() { " class=\"changed\"" } else { "" };
        let usual =
            row.usual.as_ref().map_or("the same", |usual| if usual.is_empty() { "not set" } else { usual });
        let _ = writeln!(
            out,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&row.name),
            escape(&row.value),
            escape(usual)
        );
    }
    out.push_str("</tbody></table></div></details>\n");
    let _ = writeln!(
        out,
        "<details><summary>The last {} lines that the nodes concerned logged before it</summary><pre>{}</pre></details>",
        page.logs.len(),
        escape(&page.logs.join("\n"))
    );
    if page.cut_off {
        out.push_str("<p>There was more than is kept of a run: the diagram and the disks may lack what came late.</p>\n");
    }
    out.push_str(
        "<p>Beside this page: <a href=\"min.json\">the plan of this page</a>, <a href=\"original.json\">the plan it was made \
         from</a>, <a href=\"history.txt\">all events of this run</a>.</p></section>\n",
    );
}

fn items(out: &mut String, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "<li>{}</li>", escape(line));
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

fn micros(ns: u64) -> String {
    format!("{:.6} s", ns as f64 / 1e9)
}

const LONG_PAUSE: u64 = 1_000_000_000;
