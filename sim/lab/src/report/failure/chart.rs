//! The pictures of a failure's page: faults over time, and who told whom what.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::page::escape;
use super::micros;
use crate::explain::Page;
use crate::explain::frames::Fate;
use crate::explain::space::{Arrow, Drawing, Mark};
use crate::explain::story::Tone;

/// Faults as bands over the time of the run, a row for each.
pub(super) fn bands(out: &mut String, page: &Page) {
    let length = span(page);
    let x = |ns: u64| (ns as f64 / length).min(1.0) * WIDTH;
    let height = page.faults.len() as f64 * 22.0 + 34.0;
    let _ = writeln!(
        out,
        "<div class=\"wide\"><svg class=\"bands\" viewBox=\"0 0 {:.0} {height:.0}\" role=\"img\" aria-label=\"Faults over the time of the run\">",
        WIDTH + 20.0
    );
    for (row, fault) in page.faults.iter().enumerate() {
        let y = row as f64 * 22.0;
        let _ =
            writeln!(out, "<rect class=\"rail\" x=\"0\" y=\"{y:.0}\" width=\"{WIDTH:.0}\" height=\"18\"/>");
        let Some(from) = fault.from_ns else { continue };
        let (left, wide) = (x(from), (x(fault.until_ns) - x(from)).max(4.0));
        let (at, anchor) =
            if left < WIDTH * 0.6 { (left + wide + 6.0, "start") } else { (left - 6.0, "end") };
        let _ = writeln!(
            out,
            "<rect class=\"band\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{wide:.1}\" height=\"18\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{}</text>",
            y + 13.0,
            escape(&fault.what)
        );
    }
    let bottom = height - 30.0;
    for part in 0..=6 {
        let at = WIDTH * f64::from(part) / 6.0;
        let anchor = if part == 0 {
            "start"
        } else if part == 6 {
            "end"
        } else {
            "middle"
        };
        let _ = writeln!(
            out,
            "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom:.0}\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\" class=\"dim\">{:.1} s</text>",
            bottom + 14.0,
            length / 1e9 * f64::from(part) / 6.0
        );
    }
    let first = page.cause.as_ref().filter(|cause| cause.at_ns.is_some());
    if let Some(at_ns) = first.and_then(|cause| cause.at_ns) {
        let at = x(at_ns);
        let _ = writeln!(
            out,
            "<line class=\"event\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom:.0}\"/>"
        );
    }
    let _ = writeln!(
        out,
        "</svg></div><p class=\"dim\">{}The run ends at {:.1} s.</p>",
        match first {
            Some(cause) if cause.is_known => "The red line is the first wrong step. ",
            Some(_) => "The red line is where it shows. ",
            None => "",
        },
        page.length_ns.0 as f64 / 1e9
    );
}

/// How much of the run is drawn: what comes long after the faults and the first wrong step is not.
fn span(page: &Page) -> f64 {
    let first = page.cause.as_ref().and_then(|cause| cause.at_ns);
    let ends = page.faults.iter().map(|fault| fault.until_ns).chain(first).chain(page.length_ns.1);
    let wanted = ends.max().unwrap_or(page.length_ns.0) as f64 * 1.15;
    wanted.clamp(1.0, page.length_ns.0.max(1) as f64)
}

/// Lanes, arrows, dots and faults. It is scrolled to this time at first.
pub(super) fn drawing(out: &mut String, drawing: &Drawing, name: &str, centre: Option<u64>) {
    if drawing.arrows.is_empty() && drawing.marks.is_empty() {
        out.push_str("<p>Nothing was sent that has to do with it.</p>\n");
        return;
    }
    let rows = rows(drawing);
    let lane = lane_width(drawing.lanes.len());
    let x = |index: usize| lane * (index as f64 + 0.5);
    let y = |ns: u64| rows.get(&ns).copied().unwrap_or(HEAD);
    let width = lane * drawing.lanes.len() as f64;
    let height = rows.values().copied().fold(HEAD, f64::max) + 24.0;
    let worst =
        drawing.marks.iter().max_by_key(|mark| (mark.tone == Tone::Wrong, mark.tone == Tone::Noticed));
    let (left, top) = (
        worst.map_or(0.0, |mark| x(mark.lane)),
        centre.and_then(|at| rows.range(..=at).next_back()).map_or(HEAD, |(_, y)| *y),
    );
    let _ = write!(
        out,
        "<div class=\"scroll\" data-x=\"{left:.0}\" data-y=\"{top:.0}\"><div class=\"plane\" style=\"width:{:.0}px\">\
         <div class=\"names\"><svg class=\"corner\" width=\"{GUTTER:.0}\" height=\"24\" aria-hidden=\"true\"></svg><svg \
         width=\"{width:.0}\" height=\"24\" viewBox=\"0 0 {width:.0} 24\" aria-hidden=\"true\">",
        GUTTER + width
    );
    for (index, lane) in drawing.lanes.iter().enumerate() {
        let _ = write!(
            out,
            "<text x=\"{:.0}\" y=\"16\" text-anchor=\"middle\">{}</text>",
            x(index),
            escape(lane)
        );
    }
    let _ = writeln!(
        out,
        "</svg></div><div class=\"rows\"><svg class=\"times\" width=\"{GUTTER:.0}\" height=\"{height:.0}\" viewBox=\"0 0 \
         {GUTTER:.0} {height:.0}\" role=\"group\" aria-label=\"Times\">"
    );
    times(out, &rows);
    // A marker of a picture that is not shown would not be drawn in the other.
    let _ = writeln!(
        out,
        "</svg><svg class=\"space\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"group\" aria-label=\"Requests and answers between processes\"><defs><marker id=\"tip-{name}\" viewBox=\"0 0 8 8\" \
         refX=\"7\" refY=\"4\" markerWidth=\"9\" markerHeight=\"9\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path \
         d=\"M0 0 8 4 0 8z\"/></marker></defs>"
    );
    for band in &drawing.bands {
        let (top, bottom) = (y(band.from_ns), y(band.until_ns).max(y(band.from_ns) + 4.0));
        let lanes: Vec<usize> = match band.lanes.is_empty() {
            true => (0..drawing.lanes.len()).collect(),
            false => band.lanes.clone(),
        };
        for index in lanes {
            let _ = writeln!(
                out,
                "<rect class=\"band\" x=\"{:.0}\" y=\"{top:.0}\" width=\"{lane:.0}\" height=\"{:.0}\"><title>{}</title></rect>",
                x(index) - lane / 2.0,
                bottom - top,
                escape(&band.what)
            );
        }
    }
    for (index, lane) in drawing.lanes.iter().enumerate() {
        let class = if lane.ends_with(" disk") { "lane disk" } else { "lane" };
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{0:.0}\" x2=\"{0:.0}\" y1=\"0\" y2=\"{height:.0}\"/>",
            x(index)
        );
    }
    pauses(out, &rows, width);
    let mut labels = Labels::default();
    drawing.marks.iter().for_each(|it| labels.keep(x(it.lane), y(it.from_ns)));
    // What happened on a lane is said there; names of arrows give way.
    let mut dots = String::new();
    drawing.marks.iter().for_each(|it| dot(&mut dots, it, &mut labels, &x, &y));
    drawing.arrows.iter().for_each(|it| arrow(out, it, name, &mut labels, (&x, &y)));
    out.push_str(&dots);
    out.push_str("</svg></div></div></div>\n");
}

/// Where text stands already.
#[derive(Default)]
struct Labels(Vec<[f64; 4]>);

impl Labels {
    /// No text over a dot.
    fn keep(&mut self, x: f64, y: f64) {
        self.0.push([x - 5.0, y - 5.0, x + 5.0, y + 5.0]);
    }

    /// The first place, of the left end and the base line of a text, that is free; or that with the least below it.
    fn put(&mut self, text: &str, places: &[(f64, f64)]) -> (f64, f64) {
        let width = text.chars().count() as f64 * LETTER;
        let of = |(x, y): (f64, f64)| [x, y - 9.0, x + width, y + 2.0];
        let covered = |place: &(f64, f64)| {
            let [left, top, right, bottom] = of(*place);
            let over = |[l, t, r, b]: [f64; 4]| {
                (right.min(r) - left.max(l)).max(0.0) * (bottom.min(b) - top.max(t)).max(0.0)
            };
            let outside = (-left).max(0.0) * 20.0;
            self.0.iter().copied().map(over).sum::<f64>() + outside
        };
        let mut best = (f64::INFINITY, places[0]);
        for place in places {
            let area = covered(place);
            if area < best.0 {
                best = (area, *place);
            }
        }
        self.0.push(of(best.1));
        best.1
    }
}

/// A row for each moment, in order; a wider step where much time passes.
fn rows(drawing: &Drawing) -> BTreeMap<u64, f64> {
    let arrows = drawing.arrows.iter().flat_map(|it| [it.sent_ns, it.until_ns]);
    let marks = drawing.marks.iter().flat_map(|it| [it.from_ns, it.until_ns]);
    let mut times: Vec<u64> = arrows.chain(marks).collect();
    times.extend(drawing.bands.iter().flat_map(|band| [band.from_ns, band.until_ns]));
    times.sort_unstable();
    times.dedup();
    let step = if times.len() > 200 { 15.0 } else { 22.0 };
    let mut at = HEAD;
    let mut last: Option<u64> = None;
    let mut rows = BTreeMap::new();
    for time in times {
        if let Some(last) = last {
            at += if time - last > PAUSE { step * 2.0 } else { step };
        }
        last = Some(time);
        rows.insert(time, at);
    }
    rows
}

/// The time of each row.
fn times(out: &mut String, rows: &BTreeMap<u64, f64>) {
    let mut last: Option<u64> = None;
    for (time, y) in rows {
        if let Some(before) = last.filter(|before| time - before > PAUSE) {
            let _ = writeln!(
                out,
                "<text class=\"dim\" x=\"4\" y=\"{:.0}\">{:.2} s pass</text>",
                y - 13.0,
                (time - before) as f64 / 1e9
            );
        }
        let _ = writeln!(out, "<text class=\"dim\" x=\"4\" y=\"{:.0}\">{}</text>", y + 4.0, micros(*time));
        last = Some(*time);
    }
}

/// Lines where much time passes.
fn pauses(out: &mut String, rows: &BTreeMap<u64, f64>, width: f64) {
    let later = rows.iter().zip(rows.keys().skip(1)).filter(|((time, _), next)| *next - *time > PAUSE);
    for (_, next) in later {
        let middle = rows[next] - 16.0;
        let _ = writeln!(
            out,
            "<line class=\"pause\" x1=\"0\" x2=\"{width:.0}\" y1=\"{middle:.0}\" y2=\"{middle:.0}\"/>"
        );
    }
}

fn arrow(
    out: &mut String,
    it: &Arrow,
    picture: &str,
    labels: &mut Labels,
    (x, y): (&impl Fn(usize) -> f64, &impl Fn(u64) -> f64),
) {
    let (from, mut to) = (x(it.from), x(it.to));
    let (top, mut bottom) = (y(it.sent_ns), y(it.until_ns));
    let lost = !matches!(it.fate, Fate::Arrived(_));
    if lost {
        to = from + (to - from) * 0.6;
        bottom = bottom.max(top);
    }
    let mut class = String::from("arrow");
    for (name, on) in [("answer", it.answer), ("ours", it.ours), ("lost", lost)] {
        if on {
            let _ = write!(class, " {name}");
        }
    }
    let label = escape(&it.name);
    let fields = escape(&it.fields.join("\n"));
    let half = it.name.chars().count() as f64 * LETTER / 2.0;
    let places = [-3.0, 10.0].into_iter().flat_map(|above| {
        let along = [0.5, 0.35, 0.65, 0.2, 0.8].into_iter();
        along.map(move |part| (from + (to - from) * part - half, top + (bottom - top) * part + above))
    });
    let (left, height) = labels.put(&it.name, &places.collect::<Vec<_>>());
    let _ = write!(
        out,
        "<g class=\"{class}\" tabindex=\"0\" role=\"img\"><title>{fields}</title><line class=\"hit\" x1=\"{from:.0}\" y1=\"{top:.0}\" \
         x2=\"{to:.0}\" y2=\"{bottom:.0}\"/><line x1=\"{from:.0}\" y1=\"{top:.0}\" x2=\"{to:.0}\" y2=\"{bottom:.0}\" \
         marker-end=\"url(#tip-{picture})\"/><text x=\"{left:.0}\" y=\"{height:.0}\">{label}</text>"
    );
    if lost {
        let _ = write!(
            out,
            "<text class=\"cross\" x=\"{to:.0}\" y=\"{:.0}\" text-anchor=\"middle\">✕</text>",
            bottom + 5.0
        );
    }
    out.push_str("</g>\n");
}

fn dot(out: &mut String, it: &Mark, labels: &mut Labels, x: &impl Fn(usize) -> f64, y: &impl Fn(u64) -> f64) {
    let class = match it.tone {
        Tone::Plain => "dot",
        Tone::Fault => "dot fault",
        Tone::Noticed => "dot noticed",
        Tone::Wrong | Tone::Missing => "dot wrong",
    };
    let (at, top, bottom) = (x(it.lane), y(it.from_ns), y(it.until_ns));
    let title = escape(&format!("{}\n{}", micros(it.from_ns), it.text));
    let _ = write!(out, "<g class=\"{class}\" tabindex=\"0\" role=\"img\"><title>{title}</title>");
    let _ = match bottom > top {
        true => write!(
            out,
            "<rect x=\"{:.0}\" y=\"{top:.0}\" width=\"8\" height=\"{:.0}\" rx=\"3\"/>",
            at - 4.0,
            bottom - top
        ),
        false => write!(out, "<circle cx=\"{at:.0}\" cy=\"{top:.0}\" r=\"4.5\"/>"),
    };
    let middle = f64::midpoint(top, bottom) + 4.0;
    let before = at - 8.0 - it.label.chars().count() as f64 * LETTER;
    let places =
        [0.0, -10.0, 10.0].into_iter().flat_map(|by| [(at + 8.0, middle + by), (before, middle + by)]);
    let (left, height) = labels.put(&it.label, &places.collect::<Vec<_>>());
    let _ = writeln!(out, "<text x=\"{left:.0}\" y=\"{height:.0}\">{}</text></g>", escape(&it.label));
}

fn lane_width(lanes: usize) -> f64 {
    (1000.0 / lanes.max(1) as f64).clamp(120.0, 250.0)
}

const WIDTH: f64 = 960.0;
const GUTTER: f64 = 92.0;
const HEAD: f64 = 16.0;
/// How wide a letter is, about.
const LETTER: f64 = 5.8;
/// Times farther apart than this are set apart.
const PAUSE: u64 = 100_000_000;
