//! The address of this server as the outside sees it.

use reqwest::Url;

/// An `https://` URL, or `http://` on a loopback address; without user, query, fragment and slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads one; `None` where it is no such URL.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        let whole = url.query().is_none() && url.fragment().is_none();
        let safe = match url.scheme() {
            "https" => url.host_str().is_some(),
            // Nobody else can listen in there.
            "http" => is_loopback(&url),
            _ => false,
        };
        (plain && whole && safe).then(|| Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_tell_no_secret_on_the_way_are_taken() {
        for (text, taken) in [
            ("https://video.example.com", "https://video.example.com"),
            ("https://video.example.com/", "https://video.example.com"),
            ("https://example.com:8443/longtake/", "https://example.com:8443/longtake"),
            ("http://127.0.0.1:7373", "http://127.0.0.1:7373"),
            ("http://localhost:7373/", "http://localhost:7373"),
            ("http://[::1]:7373", "http://[::1]:7373"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().as_str(), taken);
        }
        for text in [
            "",
            "video.example.com",
            "http://video.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "ftp://example.com",
            "https://user:word@example.com",
            "https://example.com/?a=b",
            "https://example.com/#a",
            "https://",
        ] {
            assert_eq!(PublicUrl::parse(text), None, "{text}");
        }
    }
}
