//! The examples of a page of the documentation: what is stored, what is asked, and the table that comes back.
//!
//! Fenced blocks are read by their first line. A block of `json events`, `json users`, `json identities` or
//! `json growth-model` is the body of such a request; a run of them is one store, which all examples up to the next run ask. A block of `json query`
//! asks, and the next block, a `table`, is what it gets: a line with the names of the columns, then a line for each row,
//! with cells apart by spaces. A text in a cell stands without quotes.

use flywheeldb::api::Json;

use super::tables::Row;

/// A question with its answer.
#[derive(Debug)]
pub struct Example {
    /// The line of the page, for a failing test to name.
    pub line: usize,
    /// What is stored before: fields `events`, `users`, `accounts` or `identities`, with bodies.
    pub stored: Vec<(String, Json)>,
    pub query: Json,
    /// Lines of cells, the names of the columns first.
    pub table: Vec<Vec<String>>,
}

/// Reads all examples of a page.
pub fn read(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut stored: Vec<(String, Json)> = Vec::new();
    let mut is_asked = false;
    let mut query = None;
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else { continue };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        let json = || {
            let text = block.join("\n");
            Json::parse(text.as_bytes()).unwrap_or_else(|problem| panic!("line {}: {problem}", index + 1))
        };
        match kind.split_once(' ') {
            Some(("json", "query")) => query = Some((index + 1, json())),
            Some(("json", body)) => {
                if std::mem::take(&mut is_asked) {
                    stored.clear();
                }
                stored.push((body.to_owned(), json()));
            }
            None if kind == "table" => {
                let (line, query) =
                    query.take().unwrap_or_else(|| panic!("line {}: a table without a query", index + 1));
                let cells = |line: &&str| line.split_whitespace().map(str::to_owned).collect();
                let table = block.iter().map(cells).collect();
                examples.push(Example { line, stored: stored.clone(), query, table });
                is_asked = true;
            }
            _ => {}
        }
    }
    assert!(query.is_none(), "the query on line {} has no table", query.map_or(0, |(line, _)| line));
    examples
}

/// Rows as the page writes them.
pub fn written(rows: &[Row]) -> Vec<Vec<String>> {
    let cell = |(_, cell): &(String, Json)| match cell {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let header = rows.iter().take(1).map(|row| row.iter().map(|(name, _)| name.clone()).collect());
    header.chain(rows.iter().map(|row| row.iter().map(cell).collect())).collect()
}
