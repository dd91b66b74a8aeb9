//! Domain names and patterns over them.
//!
//! A [`Domain`] is what DNS calls a host name: labels of letters, digits and inner hyphens, joined by dots,
//! the most general one last. A name that exists is valid, wherever it came from: parsing and decoding go
//! through the same check. Upper case is taken and made lower, so that equal names are equal bytes.
//!
//! Names are compared by whole labels: `xcs.example.edu` is not below `cs.example.edu`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A DNS-like name, lower case: `lab.cs.example.edu`. Cloning it copies no bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Matches a domain and all below it: `cs.example.edu`; `*` matches every domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainPattern(Option<Domain>);

impl Domain {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, the most particular one first; at least one.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The name without its first label; none if it has no other.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_once('.')?;
        Some(Self(parent.into()))
    }

    /// This is `other`, or somewhere below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self == other || self.is_below(other)
    }

    /// This is somewhere below `other`, directly or deeper.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(&*other.0)
            .is_some_and(|below| below.ends_with('.'))
    }
}

impl DomainPattern {
    /// Matches every domain.
    pub const ANY: Self = Self(None);

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or(STAR, Domain::as_str)
    }

    /// `domain` is one of those that the pattern means.
    #[must_use]
    pub fn matches(&self, domain: &Domain) -> bool {
        self.0.as_ref().is_none_or(|top| domain.is_within(top))
    }
}

/// Why a text is no domain name, or no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDomainError {
    /// There is nothing.
    #[error("the domain name is empty: give at least one label, as in `example.edu`")]
    Empty,
    /// The whole is too long.
    #[error("the domain name has {bytes} bytes: shorten it to {NAME_BYTES_MAX} or less")]
    TooLong {
        /// What was given.
        bytes: usize,
    },
    /// A dot at an end, or two in a row.
    #[error(
        "a label of the domain name is empty: remove dots at its ends, and all but one between labels"
    )]
    EmptyLabel,
    /// A label is too long.
    #[error(
        "the label `{label}` of the domain name is too long: shorten it to {LABEL_BYTES_MAX} bytes or less"
    )]
    LabelTooLong {
        /// Which.
        label: String,
    },
    /// A label begins or ends with a hyphen.
    #[error(
        "the label `{label}` of the domain name has a hyphen at an end: remove it, or put it between letters"
    )]
    HyphenAtEnd {
        /// Which.
        label: String,
    },
    /// A character that is not allowed.
    #[error(
        "the domain name has {character:?} in it: use letters a-z, digits, hyphens, and dots between labels"
    )]
    Character {
        /// The first of them.
        character: char,
    },
    /// A star beside other text.
    #[error(
        "`*` stands alone and matches every domain: to match a domain and all below it, write its name without `*`"
    )]
    Star,
}

impl FromStr for Domain {
    type Err = ParseDomainError;

    fn from_str(text: &str) -> Result<Self, ParseDomainError> {
        if text.is_empty() {
            return Err(ParseDomainError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(ParseDomainError::TooLong { bytes: text.len() });
        }
        text.split('.').try_for_each(check_label)?;
        let mut name = Arc::<str>::from(text);
        // An Arc that was just made has one owner.
        if let Some(name) = Arc::get_mut(&mut name) {
            name.make_ascii_lowercase();
        }
        Ok(Self(name))
    }
}

impl FromStr for DomainPattern {
    type Err = ParseDomainError;

    fn from_str(text: &str) -> Result<Self, ParseDomainError> {
        if text == STAR {
            return Ok(Self::ANY);
        }
        if text.contains(STAR) {
            return Err(ParseDomainError::Star);
        }
        text.parse().map(|domain| Self(Some(domain)))
    }
}

impl From<Domain> for DomainPattern {
    /// Matches the domain and all below it.
    fn from(domain: Domain) -> Self {
        Self(Some(domain))
    }
}

/// What both kinds of name share: they are made from text and shown as text, on the wire too.
macro_rules! text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = ParseDomainError;

            fn try_from(text: String) -> Result<Self, ParseDomainError> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(ParseVisitor(PhantomData))
            }
        }
    };
}

text!(Domain);
text!(DomainPattern);

/// Checks the text in the sender's bytes, so that nothing is copied that turns out to be no name.
struct ParseVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err = ParseDomainError>> Visitor<'_> for ParseVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a domain name")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

fn check_label(label: &str) -> Result<(), ParseDomainError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if label.is_empty() {
        Err(ParseDomainError::EmptyLabel)
    } else if let Some(character) = label.chars().find(|&c| !allowed(c)) {
        Err(ParseDomainError::Character { character })
    } else if label.len() > LABEL_BYTES_MAX {
        Err(ParseDomainError::LabelTooLong {
            label: label.to_owned(),
        })
    } else if label.starts_with('-') || label.ends_with('-') {
        Err(ParseDomainError::HyphenAtEnd {
            label: label.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// RFC 1035, section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// RFC 1035, section 2.3.4: 255 with the length byte of the first label and the root's.
const NAME_BYTES_MAX: usize = 253;
const STAR: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_lowered_and_shown_as_they_are() {
        assert_eq!(
            domain("Lab-2.CS.Example.EDU").to_string(),
            "lab-2.cs.example.edu"
        );
        assert_eq!(domain("x").as_ref(), "x");
        assert_eq!(Domain::try_from("A.b".to_owned()).unwrap(), domain("a.B"));
        assert_eq!(
            format!("{:?} {:?}", domain("a.b"), DomainPattern::ANY),
            "Domain(a.b) DomainPattern(*)"
        );
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<Domain>().unwrap_err();
        assert_eq!(refused(""), ParseDomainError::Empty);
        for text in [".", "a.", ".a", "a..b"] {
            assert_eq!(refused(text), ParseDomainError::EmptyLabel, "{text}");
        }
        for (text, character) in [
            ("a_b", '_'),
            ("a b", ' '),
            ("*", '*'),
            ("é.edu", 'é'),
            ("a\0", '\0'),
        ] {
            assert_eq!(
                refused(text),
                ParseDomainError::Character { character },
                "{text}"
            );
        }
        for label in ["-a", "a-", "-"] {
            assert_eq!(
                refused(&format!("x.{label}.y")),
                ParseDomainError::HyphenAtEnd {
                    label: label.into()
                }
            );
        }
    }

    #[test]
    fn lengths_are_allowed_up_to_their_limit() {
        let label = "a".repeat(LABEL_BYTES_MAX);
        assert!(label.parse::<Domain>().is_ok());
        let long = format!("{label}a");
        assert_eq!(
            long.parse::<Domain>(),
            Err(ParseDomainError::LabelTooLong { label: long })
        );
        let name = "a.".repeat(NAME_BYTES_MAX / 2) + "a";
        assert_eq!(domain(&name).as_str().len(), NAME_BYTES_MAX);
        assert_eq!(
            format!("{name}a").parse::<Domain>(),
            Err(ParseDomainError::TooLong { bytes: 254 })
        );
    }

    #[test]
    fn star_stands_alone() {
        assert_eq!("*".parse::<DomainPattern>().unwrap(), DomainPattern::ANY);
        assert_eq!(
            "*.example.edu".parse::<DomainPattern>(),
            Err(ParseDomainError::Star)
        );
        assert_eq!("".parse::<DomainPattern>(), Err(ParseDomainError::Empty));
        assert_eq!(DomainPattern::ANY.to_string(), "*");
        assert!(DomainPattern::ANY.matches(&domain("anything")));
    }

    #[test]
    fn names_are_compared_by_whole_labels() {
        let cs = domain("cs.example.edu");
        assert!(domain("lab.cs.example.edu").is_below(&cs));
        assert!(cs.is_within(&cs) && !cs.is_below(&cs));
        assert!(!domain("xcs.example.edu").is_within(&cs));
        assert!(!domain("example.edu").is_within(&cs));
        assert_eq!(cs.parent(), Some(domain("example.edu")));
        assert_eq!(domain("edu").parent(), None);
    }

    fn labels() -> impl Strategy<Value = Vec<String>> {
        // Few letters, so that one name often contains another's text.
        prop::collection::vec("[ab]([ab-]?[ab])?", 1..5)
    }

    proptest! {
        #[test]
        fn names_agree_with_lists_of_labels(a in labels(), b in labels()) {
            let (name_a, name_b) = (domain(&a.join(".")), domain(&b.join(".")));
            prop_assert_eq!(name_a.labels().collect::<Vec<_>>(), a.iter().collect::<Vec<_>>());
            prop_assert_eq!(name_a == name_b, a == b);
            prop_assert_eq!(name_a.is_within(&name_b), a.ends_with(&b));
            prop_assert_eq!(name_a.is_below(&name_b), a.len() > b.len() && a.ends_with(&b));
            prop_assert_eq!(DomainPattern::from(name_b).matches(&name_a), a.ends_with(&b));
            let parent = (a.len() > 1).then(|| a[1..].join("."));
            prop_assert_eq!(name_a.parent().map(|parent| parent.to_string()), parent);
        }

        #[test]
        fn any_text_parses_to_itself_lowered_or_not_at_all(text in "[a-cA-C0-9.*_-]{0,12}|\\PC{0,9}") {
            if let Ok(domain) = text.parse::<Domain>() {
                prop_assert_eq!(domain.as_str(), text.to_ascii_lowercase());
                prop_assert_eq!(domain.as_str().parse::<Domain>(), Ok(domain.clone()));
            }
            if let Ok(pattern) = text.parse::<DomainPattern>() {
                prop_assert_eq!(pattern.as_str(), text.to_ascii_lowercase());
            }
        }

        #[test]
        fn decoding_checks_as_parsing_does(text in "[a-bA-B.*-]{0,6}") {
            let encoded = postcard::to_stdvec(&text).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Domain>(&encoded).ok(), text.parse().ok());
            prop_assert_eq!(postcard::from_bytes::<DomainPattern>(&encoded).ok(), text.parse().ok());
        }
    }
}
