//! What the pages say that the demo answers: each `curl` of theirs, and what it printed.

use flywheeldb::api::{Format, Json, encode};
use flywheeldb::demo::DemoPlan;

use super::{Demo, json};

const PAGES: [(&str, &str); 2] = [
    ("README.md", include_str!("../../README.md")),
    ("docs/growth.md", include_str!("../../docs/growth.md")),
];

/// A command of a page that asks for CSV.
struct Quote {
    /// The line of the page where the command begins, for a failing test to name.
    line: usize,
    query: Json,
    /// How many lines are shown, if not all.
    head: Option<usize>,
    printed: String,
}

/// The quotes of a page: a block of `sh` with a query, and the block after it.
fn quotes(page: &str) -> Vec<Quote> {
    let mut quotes = Vec::new();
    let mut asked: Option<(usize, Json, Option<usize>)> = None;
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        let block = block.join("\n");
        match language {
            "sh" => asked = question(&block).map(|(query, head)| (index + 1, query, head)),
            "" => {
                let Some((line, query, head)) = asked.take() else { continue };
                quotes.push(Quote { line, query, head, printed: block });
            }
            _ => {}
        }
    }
    quotes
}

/// The query of a command, and how many lines of the answer it shows.
fn question(command: &str) -> Option<(Json, Option<usize>)> {
    let (kind, _) = command.split_once("/v1/query/")?.1.split_once("?format=csv")?;
    let (_, body) = command.split_once("-d '")?;
    let (body, rest) = body.rsplit_once('\'')?;
    let Json::Object(mut fields) = json(body) else { return None };
    fields.push(("kind".to_owned(), Json::String(kind.to_owned())));
    // Whoever reads the page asks after the end of the history; from then on the answers stay.
    if fields.iter().all(|(name, _)| name != "as_of") {
        fields.push(("as_of".to_owned(), Json::String("2027-01-01".to_owned())));
    }
    let head = rest.split_once("head -").and_then(|(_, count)| count.trim().parse().ok());
    Some((Json::Object(fields), head))
}

#[test]
#[ignore = "loads a million events; run it when the demo or what a page quotes of it has changed"]
fn pages_quote_the_demo_as_it_is() {
    let demo = Demo::new(DemoPlan::default());
    let mut count = 0;
    let mut wrong = Vec::new();
    for (name, page) in PAGES {
        for quote in quotes(page) {
            let answer = demo.store.query(&quote.query).expect("the store answers");
            let text = String::from_utf8(encode(&answer, Format::Csv)).expect("CSV is text");
            let told: Vec<&str> = text.lines().take(quote.head.unwrap_or(usize::MAX)).collect();
            if told.join("\n") != quote.printed {
                wrong.push(format!("{name}:{}\n{}\n", quote.line, told.join("\n")));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "the demo answers otherwise:\n{}", wrong.join("\n"));
    assert!(count >= 8, "{count} quotes were found");
}
