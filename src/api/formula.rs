//! Arithmetic over the series of a segmentation: `A / B`, `100 * (A - B) / A`.

use super::{Node, Problem};
use crate::limits::FORMULA_LENGTH_MAX;
use crate::model::Number;

/// A formula, read and checked: every letter is a series of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formula {
    Number(Number),
    /// The series with this index: 0 is `A`.
    Series(usize),
    Negated(Box<Formula>),
    Pair(Box<Formula>, Operator, Box<Formula>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

const HINT: &str = "a formula has the letters of series, numbers, + - * / and parentheses: \"100 * A / B\"";

impl Formula {
    /// Reads a formula over `series_count` series.
    ///
    /// # Errors
    /// If it is no formula or names a series that is not there; the detail tells at which character.
    pub(super) fn parse(node: &Node<'_>, series_count: usize) -> Result<Formula, Problem> {
        let text = node.string()?;
        if text.len() > FORMULA_LENGTH_MAX {
            return Err(node.problem(format!("a formula has at most {FORMULA_LENGTH_MAX} characters")));
        }
        let mut reader = Reader { text, at: 0, series_count };
        let formula = reader.sum().and_then(|formula| match reader.peek() {
            None => Ok(formula),
            Some(_) => Err(reader.expected("an operator or the end")),
        });
        formula.map_err(|fault| {
            let at = text[..fault.at].chars().count() + 1;
            node.problem(format!("character {at} of the formula: {}", fault.detail)).hint(HINT)
        })
    }
}

struct Reader<'a> {
    text: &'a str,
    /// The byte that is read next.
    at: usize,
    series_count: usize,
}

/// What is wrong, and from which byte on.
struct Fault {
    at: usize,
    detail: String,
}

impl Reader<'_> {
    fn sum(&mut self) -> Result<Formula, Fault> {
        let mut sum = self.product()?;
        while let Some(operator) = self.take_operator(&[('+', Operator::Plus), ('-', Operator::Minus)]) {
            sum = Formula::Pair(Box::new(sum), operator, Box::new(self.product()?));
        }
        Ok(sum)
    }

    fn product(&mut self) -> Result<Formula, Fault> {
        let mut product = self.factor()?;
        while let Some(operator) = self.take_operator(&[('*', Operator::Times), ('/', Operator::Over)]) {
            product = Formula::Pair(Box::new(product), operator, Box::new(self.factor()?));
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Formula, Fault> {
        match self.peek() {
            Some('-') => {
                self.at += 1;
                Ok(Formula::Negated(Box::new(self.factor()?)))
            }
            Some('(') => {
                self.at += 1;
                let inner = self.sum()?;
                if self.peek() != Some(')') {
                    return Err(self.expected("\")\""));
                }
                self.at += 1;
                Ok(inner)
            }
            Some(letter @ 'A'..='Z') => {
                let index = usize::from(letter as u8 - b'A');
                if index >= self.series_count {
                    let last = char::from(b'A' + (self.series_count - 1) as u8);
                    let detail = format!("there is no series {letter}, the query has A to {last}");
                    return Err(Fault { at: self.at, detail });
                }
                self.at += 1;
                Ok(Formula::Series(index))
            }
            Some('0'..='9') => {
                let rest = &self.text[self.at..];
                let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number = Number::parse(&rest[..length]).map_err(|error| Fault {
                    at: self.at,
                    detail: format!("{}: {error}", &rest[..length]),
                })?;
                self.at += length;
                Ok(Formula::Number(number))
            }
            _ => Err(self.expected("a letter, a number or \"(\"")),
        }
    }

    fn take_operator(&mut self, wanted: &[(char, Operator)]) -> Option<Operator> {
        let sign = self.peek()?;
        let (_, operator) = *wanted.iter().find(|(known, _)| *known == sign)?;
        self.at += 1;
        Some(operator)
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn expected(&mut self, what: &str) -> Fault {
        let found = self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"));
        Fault { at: self.at, detail: format!("expected {what}, found {found}") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Json;
    use super::*;

    fn parse(text: &str) -> Result<Formula, Problem> {
        Formula::parse(&Json::String(text.to_owned()).root(), 2)
    }

    #[test]
    fn products_bind_closer_than_sums_and_parentheses_closer_still() {
        let text = |formula: &str| format!("{:?}", parse(formula).unwrap());
        assert_eq!(text("A + B * 2"), text("A+(B*2)"));
        assert_eq!(text("A - B - 1"), text("(A - B) - 1"));
        assert_eq!(text("A / B / 2"), text("(A / B) / 2"));
        assert_ne!(text("(A + B) * 2"), text("A + B * 2"));
        assert_eq!(text("-A * 2"), text("(-A) * 2"));
        assert!(parse("2 * --A").is_ok());
    }

    #[test]
    fn errors_name_the_character() {
        let detail = |formula: &str| parse(formula).unwrap_err().detail;
        assert_eq!(
            detail("A /"),
            "character 4 of the formula: expected a letter, a number or \"(\", found the end"
        );
        assert_eq!(detail("A $ B"), "character 3 of the formula: expected an operator or the end, found '$'");
        assert_eq!(detail("(A + B"), "character 7 of the formula: expected \")\", found the end");
        assert_eq!(detail("A / C"), "character 5 of the formula: there is no series C, the query has A to B");
        assert_eq!(detail("1.2.3"), "character 1 of the formula: 1.2.3: not a number");
        assert_eq!(
            detail("a / b"),
            "character 1 of the formula: expected a letter, a number or \"(\", found 'a'"
        );
        assert!(detail(&"(".repeat(2_000)).contains("at most"));
    }
}
