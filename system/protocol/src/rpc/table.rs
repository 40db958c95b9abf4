//! The macros behind the table in [`crate::rpc`].

/// A header: a struct with its reader and writer. `"x" | "y"` gives a field a second name, for peers that use the
/// long names; `= value` is what an absent field means.
macro_rules! header {
    ($(#[$meta:meta])* $name:ident { $($key:literal $(| $long:literal)? $field:ident : $ty:ty $(= $default:expr)?),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $(#[doc = concat!("`", $key, "` on the wire.")] pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: default_of!($ty $(, $default)?)),* }
            }
        }

        impl $crate::ext::Header for $name {
            #[allow(unused, reason = "a header may have no fields, or none with a second name")]
            fn read(ext: &$crate::ext::ExtFields) -> Result<Self, $crate::ext::HeaderError> {
                let mut at = 0;
                let second_names = concat!($($($long,)?)* "");
                // One look tells which names a peer uses; a look for each would cost two walks per absent field.
                let long = !second_names.is_empty() && $crate::rpc::first_is_absent(ext, &[$($key),*]);
                Ok(Self { $($field: {
                    let key: &'static str = $key;
                    $(let key: &'static str = if long { $long } else { key };)?
                    read_of!(ext.next(&mut at, key), key, $ty $(, $default)?)
                }),* })
            }
            #[allow(unused, reason = "a header may have no fields")]
            fn write(&self, ext: &mut $crate::ext::ExtFields) {
                $($crate::ext::Slot::write(&self.$field, $key, ext);)*
            }
        }
    };
}

macro_rules! default_of {
    ($ty:ty) => {
        <$ty>::default()
    };
    ($ty:ty, $default:expr) => {
        $default
    };
}

macro_rules! read_of {
    ($value:expr, $key:expr, $ty:ty) => {
        <$ty as $crate::ext::Slot>::read($value, $key)?
    };
    ($value:expr, $key:expr, $ty:ty, $default:expr) => {
        <Option<$ty> as $crate::ext::Slot>::read($value, $key)?.unwrap_or($default)
    };
}

/// The table: code, name, request fields, name of the reply and, where it is not shared, its fields. Requests that
/// look like another one stand in the second part.
macro_rules! rpc {
    (
        $($(#[$meta:meta])* $code:literal $name:ident { $($request:tt)* } -> $reply:ident $({ $($fields:tt)* })?)*
        same { $($(#[$same_meta:meta])* $same_code:literal $same:ident = $original:ident;)* }
    ) => {
        $(
            header! { $(#[$meta])* $name { $($request)* } }
            $(header! { #[doc = concat!("The answer to [`", stringify!($name), "`].")] $reply { $($fields)* } })?
            impl $crate::ext::Request for $name {
                const CODE: i32 = $code;
                const NAME: &'static str = stringify!($name);
                type Reply = $reply;
            }
        )*
        $(
            $(#[$same_meta])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            pub struct $same(pub $original);
            impl $crate::ext::Header for $same {
                fn read(ext: &$crate::ext::ExtFields) -> Result<Self, $crate::ext::HeaderError> {
                    $original::read(ext).map(Self)
                }
                fn write(&self, ext: &mut $crate::ext::ExtFields) { self.0.write(ext) }
            }
            impl $crate::ext::Request for $same {
                const CODE: i32 = $same_code;
                const NAME: &'static str = stringify!($same);
                type Reply = <$original as $crate::ext::Request>::Reply;
            }
        )*

        /// The name of a request code, for logs and reports.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($code => Some(stringify!($name)),)*
                $($same_code => Some(stringify!($same)),)*
                _ => None,
            }
        }

        /// All request codes of the table, in its order.
        pub const CODES: &[i32] = &[$($code,)* $($same_code,)*];
    };
}
