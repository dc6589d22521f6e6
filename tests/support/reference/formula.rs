//! Arithmetic over the letters of series: `A / B`, `100 * (A + B) / C`.

use super::Refusal;

/// Works out a formula. `value` gives that of a letter, `None` if it is null. What has a null in it, and x/0,
/// is null.
pub fn evaluate(formula: &str, value: &dyn Fn(char) -> Option<f64>) -> Result<Option<f64>, Refusal> {
    let symbols: Vec<char> = formula.chars().filter(|symbol| !symbol.is_whitespace()).collect();
    let mut reader = Reader { symbols: &symbols, value };
    let result = reader.sum()?;
    match reader.symbols {
        [] => Ok(result.filter(|result| result.is_finite())),
        [symbol, ..] => Err(Refusal::Invalid(format!("{symbol:?} is unexpected in the formula"))),
    }
}

struct Reader<'a> {
    /// What is left to read.
    symbols: &'a [char],
    value: &'a dyn Fn(char) -> Option<f64>,
}

impl Reader<'_> {
    fn sum(&mut self) -> Result<Option<f64>, Refusal> {
        let mut sum = self.product()?;
        while let Some(sign) = self.take_one_of(&['+', '-']) {
            let term = self.product()?;
            sum = sum.zip(term).map(|(a, b)| if sign == '+' { a + b } else { a - b });
        }
        Ok(sum)
    }

    fn product(&mut self) -> Result<Option<f64>, Refusal> {
        let mut product = self.factor()?;
        while let Some(sign) = self.take_one_of(&['*', '/']) {
            let factor = self.factor()?;
            product = match (product, factor) {
                (Some(a), Some(b)) if sign == '*' => Some(a * b),
                (Some(a), Some(b)) if b != 0.0 => Some(a / b),
                _ => None,
            };
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Option<f64>, Refusal> {
        if self.take_one_of(&['-']).is_some() {
            return Ok(self.factor()?.map(|value| -value));
        }
        if self.take_one_of(&['(']).is_some() {
            let inner = self.sum()?;
            let closed = self.take_one_of(&[')']).is_some();
            return if closed { Ok(inner) } else { Err(Refusal::Invalid("a bracket is open".to_owned())) };
        }
        if let Some(letter) = self.symbols.first().copied().filter(char::is_ascii_uppercase) {
            self.symbols = &self.symbols[1..];
            return Ok((self.value)(letter));
        }
        let is_digit = |symbol: &&char| symbol.is_ascii_digit() || **symbol == '.';
        let length = self.symbols.iter().take_while(is_digit).count();
        let digits: String = self.symbols[..length].iter().collect();
        self.symbols = &self.symbols[length..];
        digits.parse().map(Some).map_err(|_| Refusal::Invalid("the formula lacks a term".to_owned()))
    }

    fn take_one_of(&mut self, wanted: &[char]) -> Option<char> {
        let symbol = self.symbols.first().copied().filter(|symbol| wanted.contains(symbol))?;
        self.symbols = &self.symbols[1..];
        Some(symbol)
    }
}
