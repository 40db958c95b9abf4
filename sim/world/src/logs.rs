//! The system's log lines, with simulated time and node: kept or printed, never part of the trace.
//!
//! One subscriber for the process, writing for the thread it runs on. A subscriber per thread would have to be there
//! before the executor and would spoil the seeding of the thread's hash maps.

use std::{cell::RefCell, fmt::Write as _, sync::Once};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::state::try_with;

/// What happens to log lines of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logs {
    /// Nothing.
    #[default]
    Off,
    /// Those of this level and above are returned with the outcome.
    Keep(Level),
    /// Those of this level and above are written to the standard error stream at once.
    Print(Level),
}

thread_local! {
    static SINK: RefCell<(Logs, Vec<String>)> = const { RefCell::new((Logs::Off, Vec::new())) };
}

/// Begins to collect for this thread.
pub(crate) fn open(logs: Logs) {
    // One subscriber is all a process can have; whoever set one first (a test harness) keeps it.
    static INSTALLED: Once = Once::new();
    if logs != Logs::Off {
        INSTALLED.call_once(|| {
            let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines));
        });
    }
    SINK.with_borrow_mut(|sink| *sink = (logs, Vec::new()));
}

/// Ends it, and gives the kept lines.
pub(crate) fn close() -> Vec<String> {
    SINK.with_borrow_mut(|sink| std::mem::take(&mut sink.1))
}

struct Lines;

/// The fields of a span, written out.
struct SpanText(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes() // threads differ
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = SINK.with_borrow(|sink| match sink.0 {
            Logs::Off => None,
            Logs::Keep(level) | Logs::Print(level) => Some(level),
        });
        level.is_some_and(|level| *metadata.level() <= level) && !metadata.target().starts_with("madsim")
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut text = attributes.metadata().name().to_owned();
        attributes.record(&mut Text(&mut text));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanText(text));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let place = try_with(|state| {
            let node = state.here().node;
            (state.now(), state.machine(node).name.clone())
        });
        let (now, node) = place.unwrap_or_default();
        let level = event.metadata().level();
        let mut line =
            format!("{:>7}.{:06} {node:<12} {level:<5}", now / 1_000_000_000, now / 1_000 % 1_000_000);
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev() {
            if let Some(text) = span.extensions().get::<SpanText>() {
                let _ = write!(line, " [{}]", text.0);
            }
        }
        let _ = write!(line, " {}:", event.metadata().target());
        event.record(&mut Text(&mut line));
        SINK.with_borrow_mut(|sink| match sink.0 {
            Logs::Print(_) => eprintln!("{line}"),
            _ => sink.1.push(line),
        });
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value}"),
            name => write!(self.0, " {name}={value}"),
        };
    }
}
