//! Places in the system where the simulator may act or look; without cfg(madsim) they are nothing, names included.

#[cfg(madsim)]
#[doc(hidden)]
pub use world::hooks::*;

/// A place where the fault plan may kill the node: `crash_point!("store.append.written").await`.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::__crash_point!($name)
    };
}

/// A place where the plan may choose the rare way: `if buggify!("net.short_turn") { .. }`.
#[macro_export]
macro_rules! buggify {
    ($name:literal) => {
        $crate::__buggify!($name)
    };
}

/// A planted bug, there to prove that the checkers find it: `if planted!("M01") { .. }`.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::__planted!($name)
    };
}

/// A state that the tests must come to: `sometimes!("store.recover.cut")`, or only when something holds as well:
/// `sometimes!("net.turn_spent", turn.is_spent())`. Each has a line in the lab's table of properties.
#[macro_export]
macro_rules! sometimes {
    ($name:literal $(, $holds:expr)? $(,)?) => {
        $crate::__sometimes!($name $(, $holds)?)
    };
}

/// Tells an observer of the run: `tap!("append", queue = id, offset = at)`.
#[macro_export]
macro_rules! tap {
    ($name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::__tap!($name $(, $field = $value)*)
    };
}

#[cfg(madsim)]
mod macros {
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __crash_point {
        ($name:literal) => {
            $crate::hooks::crash_point($name)
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __buggify {
        ($name:literal) => {
            $crate::hooks::buggify($name)
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __planted {
        ($name:literal) => {
            $crate::hooks::planted($name)
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __sometimes {
        ($name:literal) => {
            $crate::hooks::sometimes($name)
        };
        ($name:literal, $holds:expr) => {
            if $holds {
                $crate::hooks::sometimes($name);
            }
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __tap {
        ($name:literal $(, $field:ident = $value:expr)*) => {
            if $crate::hooks::is_tapped() {
                $crate::hooks::tap($name, &[$((stringify!($field), $crate::hooks::Value::from($value))),*]);
            }
        };
    }
}

#[cfg(not(madsim))]
mod macros {
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __crash_point {
        ($name:literal) => {
            ::core::future::ready(())
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __buggify {
        ($name:literal) => {
            false
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __planted {
        ($name:literal) => {
            false
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __sometimes {
        ($name:literal $(, $holds:expr)?) => {
            // Never run; it only makes both modes see the same variables as used.
            if false {
                $(let _ = $holds;)?
            }
        };
    }
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __tap {
        ($name:literal $(, $field:ident = $value:expr)*) => {
            // Never run; it only makes both modes see the same variables as used.
            if false {
                $(let _ = &$value;)*
            }
        };
    }
}
