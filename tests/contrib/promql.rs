//! Parses the selectors and groupings of a `PromQL` expression, and only as much of the language as they need.

use std::{iter::Peekable, vec};

/// A metric of this crate, and the labels that it must match.
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

pub(crate) struct Matcher {
    pub(crate) label: String,
    is_pattern: bool,
    value: String,
}

impl Matcher {
    /// Returns the literal values, without variables.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        let separator = if self.is_pattern { "|" } else { "\0" };
        let values = self.value.split(separator);
        values.filter(|value| !value.starts_with('$'))
    }
}

enum Token {
    Word(String),
    /// A quoted string.
    Text(String),
    Sign(char),
}

type Tokens = Peekable<vec::IntoIter<Token>>;

fn tokens(expression: &str) -> Tokens {
    let mut tokens = Vec::new();
    let mut chars = expression.chars().peekable();
    while let Some(first) = chars.next() {
        let is_of_word = |char: &char| char.is_alphanumeric() || "_$".contains(*char);
        tokens.push(if first == '"' {
            let text: String = chars.by_ref().take_while(|&char| char != '"').collect();
            assert!(!text.contains('\\'), "{text} in {expression}");
            Token::Text(text)
        } else if is_of_word(&first) {
            let mut word = String::from(first);
            while let Some(next) = chars.next_if(is_of_word) {
                word.push(next);
            }
            Token::Word(word)
        } else if first.is_whitespace() {
            continue;
        } else {
            Token::Sign(first)
        });
    }
    tokens.into_iter().peekable()
}

/// Returns the selectors of the crate's metrics.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let mut tokens = tokens(expression);
    let mut selectors = Vec::new();
    while let Some(token) = tokens.next() {
        if let Token::Word(metric) = token
            && metric.starts_with("tower_health_")
        {
            let matchers = matchers(&mut tokens);
            selectors.push(Selector { metric, matchers });
        }
    }
    selectors
}

fn matchers(tokens: &mut Tokens) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    if !matches!(tokens.peek(), Some(Token::Sign('{'))) {
        return matchers;
    }
    let (mut label, mut is_pattern) = (String::new(), false);
    for token in tokens {
        match token {
            Token::Word(word) => (label, is_pattern) = (word, false),
            Token::Sign('}') => break,
            Token::Sign(sign) => is_pattern |= sign == '~',
            Token::Text(value) => matchers.push(Matcher {
                label: label.clone(),
                is_pattern,
                value,
            }),
        }
    }
    matchers
}

/// Returns the labels by which series are aggregated or matched.
pub(crate) fn groupings(expression: &str) -> Vec<String> {
    let mut tokens = tokens(expression);
    let mut labels = Vec::new();
    while let Some(token) = tokens.next() {
        if let Token::Word(word) = token
            && ["by", "without", "on", "ignoring"].contains(&&*word)
        {
            let list = tokens
                .by_ref()
                .take_while(|token| !matches!(token, Token::Sign(')')));
            labels.extend(list.filter_map(|token| match token {
                Token::Word(label) => Some(label),
                _ => None,
            }));
        }
    }
    labels
}
