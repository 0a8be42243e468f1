//! One setting: what kinds of values there are, how each is read and shown.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use longtake_core::request::Size;
use toml::{Table, Value};

use super::ConfigError;
use super::layers::{Layers, Origin, shown_key};
use super::nearest::suggestion;
use super::public_url::PublicUrl;
use super::secret::Secret;
use crate::http::network::Network;

/// Longest value repeated in an error, in characters.
const MAX_SHOWN_CHARS: usize = 60;

/// A kind of value.
pub trait Setting: Sized {
    /// What it is, after "must be".
    const KIND: &'static str;
    /// Whether text in the environment is the value itself; else it is read as TOML.
    const IS_TEXT: bool = false;

    /// Reads it; `None` where it is of another kind.
    fn read(value: &Value) -> Option<Self>;

    /// What an error says of a value that cannot be read; of a list, which of its items.
    fn wrong_part(value: &Value) -> String {
        format!("not {}", shown(value))
    }

    /// As it would stand in the file; `None` where nothing is set.
    fn show(&self) -> Option<String>;

    /// For the check of its range.
    fn number(&self) -> Option<u64> {
        None
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const KIND: &'static str = "a whole number";
            fn read(value: &Value) -> Option<Self> {
                value.as_integer().and_then(|number| Self::try_from(number).ok())
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, usize);

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for f64 {
    const KIND: &'static str = "a number";
    fn read(value: &Value) -> Option<Self> {
        value.as_float().or_else(|| value.as_integer().map(|number| number as Self))
    }
    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// Kinds that are written as text.
macro_rules! texts {
    ($($type:ty: $kind:literal, |$text:ident| $read:expr, |$value:ident| $show:expr;)*) => {$(
        impl Setting for $type {
            const KIND: &'static str = $kind;
            const IS_TEXT: bool = true;
            fn read(value: &Value) -> Option<Self> {
                let $text = value.as_str()?;
                $read
            }
            fn show(&self) -> Option<String> {
                let $value = self;
                $show
            }
        }
    )*};
}
texts! {
    String: "text in quotes", |text| Some(text.to_owned()), |value| Some(format!("{value:?}"));
    PathBuf: "a path in quotes", |text| (!text.is_empty()).then(|| text.into()), |value| Some(format!("{:?}", value.display().to_string()));
    SocketAddr: "an address and port such as 127.0.0.1:7373", |text| address(text), |value| Some(format!("\"{value}\""));
    PublicUrl: "an https URL without user, query and fragment, such as https://video.example.com; http is taken on a loopback address", |text| PublicUrl::parse(text), |value| Some(format!("{:?}", value.as_str()));
    Network: "a network such as 127.0.0.0/8", |text| network(text), |_value| None;
    Size: "a size such as 1280x720", |text| text.parse().ok(), |value| Some(format!("\"{value}\""));
}

impl Setting for Secret {
    const KIND: &'static str = "a secret: its text, env:NAME or file:PATH";
    const IS_TEXT: bool = true;
    fn read(value: &Value) -> Option<Self> {
        value.as_str().filter(|text| !text.trim().is_empty()).map(|text| Self(text.to_owned()))
    }
    fn show(&self) -> Option<String> {
        None
    }
    /// A key of digits only is a secret without its quotes, too.
    fn wrong_part(_: &Value) -> String {
        "in quotes".to_owned()
    }
}

/// A bare address is the network of it alone.
fn network(text: &str) -> Option<Network> {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_ipv4() => format!("{address}/32").parse().ok(),
        Ok(address) => format!("{address}/128").parse().ok(),
        Err(_) => text.parse().ok(),
    }
}

/// `localhost:7373` is understood too.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(([127, 0, 0, 1], port.parse().ok()?).into()),
        None => text.parse().ok(),
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;
    const IS_TEXT: bool = T::IS_TEXT;
    fn read(value: &Value) -> Option<Self> {
        T::read(value).map(Some)
    }
    fn wrong_part(value: &Value) -> String {
        T::wrong_part(value)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Setting::show)
    }
    fn number(&self) -> Option<u64> {
        self.as_ref().and_then(Setting::number)
    }
}

/// What a list is called, by what is in it.
pub trait Listed: Setting {
    /// After "must be".
    const LIST: &'static str;
}

impl Listed for u32 {
    const LIST: &'static str = "a list of whole numbers such as [4, 8]";
}

impl Listed for String {
    const LIST: &'static str = "a list of names such as [\"our-gpus\"]";
}

impl Listed for Network {
    const LIST: &'static str = "a list of networks such as [\"127.0.0.0/8\"]";
}

impl Listed for Size {
    const LIST: &'static str = "a list of sizes such as [\"1280x720\"]";
}

impl<T: Listed> Setting for Vec<T> {
    const KIND: &'static str = T::LIST;
    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::read).collect()
    }
    fn wrong_part(value: &Value) -> String {
        let items = value.as_array().into_iter().flatten().enumerate();
        match items.into_iter().find(|(_, item)| T::read(item).is_none()) {
            Some((index, item)) => format!("and item {}, {}, is not {}", index + 1, shown(item), T::KIND),
            None => format!("not {}", shown(value)),
        }
    }
    fn show(&self) -> Option<String> {
        let shown: Vec<String> = self.iter().filter_map(Setting::show).collect();
        Some(format!("[{}]", shown.join(", ")))
    }
}

/// An enum of words.
macro_rules! words {
    ($type:ty: $kind:literal { $($word:literal => $variant:path),* $(,)? }) => {
        impl crate::config::read::Setting for $type {
            const KIND: &'static str = $kind;
            const IS_TEXT: bool = true;
            fn read(value: &toml::Value) -> Option<Self> {
                match value.as_str()? {
                    $($word => Some($variant),)*
                    _ => None,
                }
            }
            fn show(&self) -> Option<String> {
                match self {
                    $($variant => Some(concat!('"', $word, '"').to_owned()),)*
                }
            }
        }
    };
}
pub(super) use words;

/// Takes settings out of one table, and complains about what is left.
pub struct Reader<'a> {
    layers: &'a Layers,
    path: Vec<String>,
    table: Table,
}

impl<'a> Reader<'a> {
    /// Reads one table; `path` is how it is reached.
    pub fn new(layers: &'a Layers, path: Vec<String>, table: Table) -> Self {
        Self { layers, path, table }
    }

    /// Takes one setting, or its default where it is absent.
    pub fn take<T: Setting>(
        &mut self,
        name: &str,
        default: T,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<T, ConfigError> {
        let Some(value) = self.table.remove(name) else { return Ok(default) };
        let wrong = |problem: String| Err(self.error(name, &problem));
        let kind = match &range {
            Some(range) => format!("{} from {} to {}", T::KIND, range.start(), range.end()),
            None => T::KIND.to_owned(),
        };
        let outside = matches!(self.origin(name), Some(Origin::Variable(_) | Origin::Flag(_)));
        let value = match value.as_str() {
            // What is no TOML is shown as it was written.
            Some(text) if outside && !T::IS_TEXT => from_text(text).unwrap_or(value),
            _ => value,
        };
        let Some(setting) = T::read(&value) else { return wrong(format!("must be {kind}, {}", T::wrong_part(&value))) };
        match (setting.number(), range) {
            (Some(number), Some(range)) if !range.contains(&number) => {
                wrong(format!("must be {kind}, not {}", shown(&value)))
            }
            _ => Ok(setting),
        }
    }

    /// Takes a value as it is.
    pub fn take_raw(&mut self, name: &str) -> Option<Value> {
        self.table.remove(name)
    }

    /// Whether a value came from the environment or a flag, so that its text may be TOML.
    pub fn is_outside(&self, name: &str) -> bool {
        self.origin(name).is_some()
    }

    /// An error about one key of this table.
    pub fn error(&self, name: &str, problem: &str) -> ConfigError {
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain([name]).collect();
        self.layers.error(&path, problem)
    }

    /// Complains about what nobody took.
    pub fn finish(self, known: &[&str]) -> Result<(), ConfigError> {
        let Some(stranger) = self.table.keys().next() else { return Ok(()) };
        let wrong = format!("unknown key{}", suggestion(stranger, known));
        Err(self.error(stranger, &wrong))
    }

    fn origin(&self, name: &str) -> Option<&Origin> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain([name]).collect();
        self.layers.origins.get(&shown_key(&path))
    }
}

/// Text of the environment as the TOML value it stands for.
pub fn from_text(text: &str) -> Option<Value> {
    toml::from_str::<Table>(&format!("value = {}", text.trim())).ok()?.remove("value")
}

/// A value as an error repeats it: short, on one line, without a user and password.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "this list".to_owned(),
        Value::String(text) => shown_text(text),
        other => other.to_string(),
    }
}

/// The same for text. Before its last `@` may be a password, however the rest is written.
pub fn shown_text(text: &str) -> String {
    let plain = match text.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…@{host}"),
            None => format!("…@{host}"),
        },
        None => text.to_owned(),
    };
    let short: String = plain.chars().take(MAX_SHOWN_CHARS).collect();
    format!("{short:?}")
}
