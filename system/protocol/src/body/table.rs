//! The macros behind the tables of bodies.

/// Bodies: structs with serde, the names on the wire, second names and defaults.
macro_rules! body {
    ($($(#[$meta:meta])* $name:ident {
        $($key:tt $(| $other:tt)? $field:ident : $ty:ty $(= $default:expr)?),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(#[doc = concat!("`", $key, "` on the wire.")] #[serde(rename = $key $(, alias = $other)?)] pub $field: $ty),*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: default_value!($ty $(, $default)?)),* }
            }
        }
    )*};
}

macro_rules! default_value {
    ($ty:ty) => {
        <$ty>::default()
    };
    ($ty:ty, $default:expr) => {
        $default
    };
}

/// Enumerations that travel by name, read in any letter case or by their place. A name that is not known is the
/// default, which is the first one with `#[default]`.
macro_rules! names {
    ($($(#[$meta:meta])* $name:ident { $($(#[$attribute:meta])* $variant:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$attribute])* #[doc = concat!("`", $text, "` on the wire.")] $variant),* }

        impl $name {
            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value of this name, in any letter case.
            pub fn from_name(name: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|value| value.name().eq_ignore_ascii_case(name))
            }

            fn from_place(place: i64) -> Option<Self> {
                let values = [$(Self::$variant),*];
                usize::try_from(place).ok().and_then(|place| values.get(place).copied())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ByName;
                impl serde::de::Visitor<'_> for ByName {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a name of ", stringify!($name)))
                    }
                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<$name, E> {
                        Ok($name::from_name(name).unwrap_or_default())
                    }
                    fn visit_i64<E: serde::de::Error>(self, place: i64) -> Result<$name, E> {
                        Ok($name::from_place(place).unwrap_or_default())
                    }
                    fn visit_u64<E: serde::de::Error>(self, place: u64) -> Result<$name, E> {
                        self.visit_i64(i64::try_from(place).unwrap_or(-1))
                    }
                    fn visit_unit<E: serde::de::Error>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }
                }
                deserializer.deserialize_any(ByName)
            }
        }
    )*};
}
