//! Conditions on events and users, and what they say of one value.

use regex::{Regex, RegexBuilder};

use super::cohort::CohortExpr;
use super::{Fields, Json, Node, Problem, nearest};
use crate::limits::{
    FILTER_DEPTH_MAX, FILTER_VALUE_COUNT_MAX, PATTERN_COMPILED_SIZE_MAX, PROPERTY_NAME_SIZE_MAX,
};
use crate::model::{Entity, Value};

/// Whose property is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum On {
    #[default]
    Event,
    /// The user of each event.
    User,
    /// The account of each event.
    Account,
}

/// A condition that an event, or a user, satisfies or not. Plain logic: `not` of what is missing is true.
#[derive(Clone, Debug)]
pub enum Filter {
    Property {
        property: String,
        op: Op,
        on: On,
    },
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    /// The user is a member.
    Cohort(Box<CohortExpr>),
}

/// What a filter asks of a value.
#[derive(Clone, Debug)]
pub enum Op {
    Eq(Value),
    Ne(Value),
    In(ValueSet),
    NotIn(ValueSet),
    Lt(Value),
    Lte(Value),
    Gt(Value),
    Gte(Value),
    /// Both ends are inside. They are of one type.
    Between(Value, Value),
    Contains(String),
    NotContains(String),
    StartsWith(String),
    EndsWith(String),
    Matches(Regex),
    IsSet,
    IsNotSet,
}

/// How an operator's operand is written.
#[derive(Clone, Copy)]
enum Form {
    Scalar(fn(Value) -> Op),
    Values(fn(ValueSet) -> Op),
    Text(fn(String) -> Op),
    Between,
    Matches,
    None(fn() -> Op),
}

/// What the operators are called.
const OPS: [(&str, Form); 16] = [
    ("eq", Form::Scalar(Op::Eq)),
    ("ne", Form::Scalar(Op::Ne)),
    ("in", Form::Values(Op::In)),
    ("not_in", Form::Values(Op::NotIn)),
    ("lt", Form::Scalar(Op::Lt)),
    ("lte", Form::Scalar(Op::Lte)),
    ("gt", Form::Scalar(Op::Gt)),
    ("gte", Form::Scalar(Op::Gte)),
    ("between", Form::Between),
    ("contains", Form::Text(Op::Contains)),
    ("not_contains", Form::Text(Op::NotContains)),
    ("starts_with", Form::Text(Op::StartsWith)),
    ("ends_with", Form::Text(Op::EndsWith)),
    ("matches", Form::Matches),
    ("is_set", Form::None(|| Op::IsSet)),
    ("is_not_set", Form::None(|| Op::IsNotSet)),
];

/// What requests call the operators.
pub(crate) fn op_words() -> impl Iterator<Item = &'static str> {
    OPS.iter().map(|(word, _)| *word)
}

/// Distinct values, to be searched in.
#[derive(Clone, Debug)]
pub struct ValueSet(Vec<Value>);

impl ValueSet {
    pub fn new(mut values: Vec<Value>) -> ValueSet {
        values.sort_unstable();
        values.dedup();
        ValueSet(values)
    }

    pub fn contains(&self, value: &Value) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// The values in ascending order.
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

impl Op {
    /// Whether a property with this value, or without one, satisfies the operator.
    ///
    /// What is missing satisfies only the negatives, and an empty list is missing. A list satisfies an
    /// operator when one element does, and a negative when none does the opposite. Values of other types
    /// than the operand's are never equal, less or containing.
    pub fn holds(&self, value: Option<&Value>) -> bool {
        let elements = value.map_or(&[][..], Value::elements);
        let any = |test: &dyn Fn(&Value) -> bool| elements.iter().any(test);
        let any_text = |test: &dyn Fn(&str) -> bool| elements.iter().filter_map(Value::as_str).any(test);
        let alike = |a: &Value, b: &Value| std::mem::discriminant(a) == std::mem::discriminant(b);
        match self {
            Op::Eq(operand) => any(&|v| v == operand),
            Op::Ne(operand) => !any(&|v| v == operand),
            Op::In(set) => any(&|v| set.contains(v)),
            Op::NotIn(set) => !any(&|v| set.contains(v)),
            Op::Lt(operand) => any(&|v| alike(v, operand) && v < operand),
            Op::Lte(operand) => any(&|v| alike(v, operand) && v <= operand),
            Op::Gt(operand) => any(&|v| alike(v, operand) && v > operand),
            Op::Gte(operand) => any(&|v| alike(v, operand) && v >= operand),
            Op::Between(low, high) => any(&|v| alike(v, low) && low <= v && v <= high),
            Op::Contains(part) => any_text(&|text| text.contains(part.as_str())),
            Op::NotContains(part) => !any_text(&|text| text.contains(part.as_str())),
            Op::StartsWith(part) => any_text(&|text| text.starts_with(part.as_str())),
            Op::EndsWith(part) => any_text(&|text| text.ends_with(part.as_str())),
            Op::Matches(pattern) => any_text(&|text| pattern.is_match(text)),
            Op::IsSet => !elements.is_empty(),
            Op::IsNotSet => elements.is_empty(),
        }
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Op, Problem> {
        let form = fields.required("op")?.word(&OPS)?;
        if let Form::None(op) = form {
            return Ok(op());
        }
        let operand = fields
            .required("value")
            .map_err(|problem| problem.hint("to ask for a missing value, use the op \"is_not_set\""))?;
        Ok(match form {
            Form::Scalar(op) => op(scalar(&operand)?),
            Form::Values(op) => op(ValueSet::new(scalars(&operand)?)),
            Form::Text(op) => op(text(&operand)?.to_owned()),
            Form::Between => {
                let ends = operand.array()?;
                let [low, high] = ends.as_slice() else {
                    return Err(operand.problem("\"between\" takes a list of two values, [low, high]"));
                };
                let (low_value, high_value) = (low.scalar()?, high.scalar()?);
                if std::mem::discriminant(&low_value) != std::mem::discriminant(&high_value) {
                    return Err(high.problem("the two ends of \"between\" are of different types"));
                }
                Op::Between(low_value, high_value)
            }
            Form::Matches => Op::Matches(parse_pattern(&operand)?),
            Form::None(op) => op(),
        })
    }
}

fn scalar(operand: &Node<'_>) -> Result<Value, Problem> {
    operand.scalar().map_err(|problem| match operand.json() {
        Json::Array(_) => problem.hint("to compare with several values, use the op \"in\" or \"not_in\""),
        _ => problem,
    })
}

fn scalars(operand: &Node<'_>) -> Result<Vec<Value>, Problem> {
    let values = operand.array()?;
    if values.len() > FILTER_VALUE_COUNT_MAX {
        let problem = operand.problem(format!("more than {FILTER_VALUE_COUNT_MAX} values"));
        return Err(problem.hint("keep such a list as a property of the users' profiles"));
    }
    values.iter().map(Node::scalar).collect()
}

fn text<'a>(operand: &Node<'a>) -> Result<&'a str, Problem> {
    operand.string().map_err(|problem| {
        problem.hint("to find an element of a list, use the op \"eq\": one element is enough")
    })
}

/// Compiled once for a query. Matching takes time linear in the text, whatever the pattern.
fn parse_pattern(operand: &Node<'_>) -> Result<Regex, Problem> {
    let pattern = operand.string()?;
    RegexBuilder::new(pattern).size_limit(PATTERN_COMPILED_SIZE_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => operand
            .problem("the regular expression is too large when compiled")
            .hint("large counted repetitions such as \"{1000}\" are the usual reason"),
        error => {
            // The full message is a drawing of several lines; the last one says what is wrong.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            operand
                .problem(format!("not a regular expression: {reason}"))
                .hint("there are no look-arounds and no back-references, so that matching stays linear")
        }
    })
}

/// The name of a property.
pub(super) fn parse_property(node: &Node<'_>) -> Result<String, Problem> {
    let name = node.string()?;
    if name.is_empty() || name.len() > PROPERTY_NAME_SIZE_MAX {
        return Err(node.problem(format!("a property's name has 1 to {PROPERTY_NAME_SIZE_MAX} bytes")));
    }
    Ok(name.to_owned())
}

pub(super) fn parse_on(fields: &mut Fields<'_>) -> Result<On, Problem> {
    let words = [("event", On::Event), ("user", On::User), ("account", On::Account)];
    fields.optional("on").map_or(Ok(On::default()), |on| on.word(&words))
}

impl Filter {
    pub fn parse(node: &Node<'_>) -> Result<Filter, Problem> {
        parse_filter(node, Subject::Event, 1)
    }

    /// A filter on a profile: `on` is `user` unless said, and there is no event whose property could be meant.
    pub fn parse_profile(node: &Node<'_>) -> Result<Filter, Problem> {
        parse_filter(node, Subject::Profile, 1)
    }

    /// The conditions on whom the query counts that all have to hold: they say who is told, where others say which
    /// events count. A condition that is on events too is none of them.
    pub fn conditions_on(&self, entity: Entity) -> Vec<&Filter> {
        match self {
            Filter::All(list) => list.iter().flat_map(|filter| filter.conditions_on(entity)).collect(),
            filter if filter.is_on(entity) => vec![filter],
            _ => Vec::new(),
        }
    }

    /// What else has to hold, of events: for those who meet [`Filter::conditions_on`].
    pub fn without_conditions_on(&self, entity: Entity) -> Filter {
        match self {
            Filter::All(list) => {
                Filter::All(list.iter().map(|filter| filter.without_conditions_on(entity)).collect())
            }
            filter if filter.is_on(entity) => Filter::All(Vec::new()),
            filter => filter.clone(),
        }
    }

    /// Whether it asks for members of a cohort, who may be others as of another moment.
    pub fn has_cohort(&self) -> bool {
        match self {
            Filter::All(list) | Filter::Any(list) => list.iter().any(Filter::has_cohort),
            Filter::Not(filter) => filter.has_cohort(),
            Filter::Cohort(_) => true,
            Filter::Property { .. } => false,
        }
    }

    fn is_on(&self, entity: Entity) -> bool {
        match self {
            Filter::All(list) | Filter::Any(list) => list.iter().all(|filter| filter.is_on(entity)),
            Filter::Not(filter) => filter.is_on(entity),
            Filter::Cohort(_) => true,
            Filter::Property { on, .. } => on.is_of(entity),
        }
    }
}

impl On {
    /// Whether it is the property of whom the query counts.
    pub fn is_of(self, entity: Entity) -> bool {
        matches!((self, entity), (On::User, Entity::User) | (On::Account, Entity::Account))
    }
}

/// What a filter looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Event,
    Profile,
}

fn parse_filter(node: &Node<'_>, subject: Subject, depth: usize) -> Result<Filter, Problem> {
    if depth > FILTER_DEPTH_MAX {
        return Err(node.problem(format!("filters are nested more than {FILTER_DEPTH_MAX} deep")));
    }
    let inner = |node: &Node<'_>| parse_filter(node, subject, depth + 1);
    let inner_list = |node: Node<'_>| node.array()?.iter().map(inner).collect::<Result<Vec<_>, _>>();
    let mut fields = node.object()?;
    let filter = if fields.has("all") {
        Filter::All(inner_list(fields.required("all")?)?)
    } else if fields.has("any") {
        Filter::Any(inner_list(fields.required("any")?)?)
    } else if fields.has("not") {
        Filter::Not(Box::new(inner(&fields.required("not")?)?))
    } else if fields.has("cohort") {
        Filter::Cohort(Box::new(CohortExpr::parse(&fields.required("cohort")?)?))
    } else if fields.has("property") {
        let property = parse_property(&fields.required("property")?)?;
        let op = Op::parse(&mut fields)?;
        let on = match subject {
            Subject::Event => parse_on(&mut fields)?,
            Subject::Profile => {
                fields.optional("on").map_or(Ok(On::User), |on| on.word(&[("user", On::User)]))?
            }
        };
        Filter::Property { property, op, on }
    } else {
        return Err(not_a_filter(node));
    };
    fields.finish()?;
    Ok(filter)
}

fn not_a_filter(node: &Node<'_>) -> Problem {
    const FORMS: [&str; 5] = ["property", "all", "any", "not", "cohort"];
    let problem = node.problem(format!("a filter has one of the fields {}", FORMS.join(", ")));
    let Json::Object(fields) = node.json() else { return problem };
    match fields.iter().find_map(|(name, _)| nearest(name, FORMS)) {
        Some(form) => problem.hint(format!("did you mean {form:?}?")),
        None => problem.hint("for example {\"property\": \"plan\", \"op\": \"eq\", \"value\": \"free\"}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Filter, Problem> {
        Filter::parse(&Json::parse(json.as_bytes()).unwrap().root())
    }

    fn holds(op: &str, operand: &str, value: Option<&Value>) -> bool {
        let operand = if operand.is_empty() { String::new() } else { format!(r#", "value": {operand}"#) };
        let filter = parse(&format!(r#"{{"property": "p", "op": "{op}"{operand}}}"#)).unwrap();
        let Filter::Property { op, .. } = filter else { panic!("a property filter") };
        op.holds(value)
    }

    fn value(json: &str) -> Value {
        Json::parse(json.as_bytes()).unwrap().root().value().unwrap()
    }

    #[test]
    fn what_is_missing_satisfies_only_the_negatives() {
        let empty = value("[]");
        for missing in [None, Some(&empty)] {
            for (op, operand) in [
                ("eq", "1"),
                ("in", "[1]"),
                ("lt", "1"),
                ("lte", "1"),
                ("gt", "1"),
                ("gte", "1"),
                ("between", "[1, 2]"),
                ("contains", "\"\""),
                ("starts_with", "\"\""),
                ("ends_with", "\"\""),
                ("matches", "\"\""),
                ("is_set", ""),
            ] {
                assert!(!holds(op, operand, missing), "{op}");
            }
            for (op, operand) in
                [("ne", "1"), ("not_in", "[1]"), ("not_contains", "\"\""), ("is_not_set", "")]
            {
                assert!(holds(op, operand, missing), "{op}");
            }
        }
    }

    #[test]
    fn values_of_other_types_are_never_equal_less_or_containing() {
        let five = value("\"5\"");
        for (op, operand) in [("eq", "5"), ("in", "[5]"), ("lt", "9"), ("gt", "1"), ("between", "[1, 9]")] {
            assert!(!holds(op, operand, Some(&five)), "{op}");
        }
        assert!(holds("ne", "5", Some(&five)));
        assert!(holds("not_in", "[5]", Some(&five)));
        assert!(!holds("contains", "\"5\"", Some(&value("5"))));
        assert!(holds("not_contains", "\"5\"", Some(&value("5"))));
        // In the order of breakdown rows numbers come before strings and strings before booleans.
        assert!(!holds("lt", "\"a\"", Some(&value("1"))));
        assert!(!holds("gt", "\"a\"", Some(&value("true"))));
    }

    #[test]
    fn one_element_of_a_list_is_enough_and_for_negatives_one_too_many() {
        let list = value(r#"["red", "green", 7]"#);
        assert!(holds("eq", "\"green\"", Some(&list)));
        assert!(holds("gt", "6", Some(&list)));
        assert!(holds("contains", "\"ee\"", Some(&list)));
        assert!(!holds("ne", "\"green\"", Some(&list)));
        assert!(!holds("not_in", "[\"blue\", 7]", Some(&list)));
        assert!(holds("not_contains", "\"x\"", Some(&list)));
    }

    #[test]
    fn comparisons_are_exact_and_between_has_both_ends() {
        assert!(holds("between", "[5, 6]", Some(&value("6.0"))));
        assert!(holds("between", "[5, 6]", Some(&value("5"))));
        assert!(!holds("between", "[5, 6]", Some(&value("6.000001"))));
        assert!(holds("gt", "0.1", Some(&value("0.10000000000000000001"))));
        assert!(holds("lt", "\"b\"", Some(&value("\"a\""))));
        assert!(holds("in", "[\"5\", 6, true]", Some(&value("true"))));
    }

    #[test]
    fn patterns_search_unless_anchored() {
        assert!(holds("matches", r#""o{2}""#, Some(&value("\"foobar\""))));
        assert!(!holds("matches", r#""^o{2}$""#, Some(&value("\"foobar\""))));
    }

    #[test]
    fn errors_name_the_place_and_what_would_help() {
        let problem = |json: &str| parse(json).unwrap_err();
        let told = |p: Problem| (p.path.unwrap_or_default(), p.hint.unwrap_or_default());

        let wrong_op = problem(r#"{"any": [{"property": "p", "op": "equals", "value": 1}]}"#);
        assert_eq!(wrong_op.path.as_deref(), Some("/any/0/op"));
        assert_eq!(
            told(problem(r#"{"property": "p", "op": "contain", "value": "x"}"#)),
            ("/op".into(), "did you mean \"contains\"?".into())
        );
        assert_eq!(
            told(problem(r#"{"propery": "p", "op": "eq", "value": 1}"#)),
            (String::new(), "did you mean \"property\"?".into())
        );
        assert!(told(problem(r#"{"property": "p", "op": "eq", "value": [1]}"#)).1.contains("\"in\""));
        assert!(told(problem(r#"{"property": "p", "op": "eq", "value": null}"#)).1.contains("is_not_set"));
        assert_eq!(
            problem(r#"{"property": "p", "op": "is_set", "value": 1}"#).path.as_deref(),
            Some("/value")
        );
        assert_eq!(told(problem(r#"{"property": "p", "op": "between", "value": [1, "2"]}"#)).0, "/value/1");
        assert_eq!(told(problem(r#"{"property": "p", "op": "between", "value": [1]}"#)).0, "/value");
        assert_eq!(told(problem(r#"{"property": "p", "op": "matches", "value": "a(?=b)"}"#)).0, "/value");
        assert!(
            problem(r#"{"property": "p", "op": "matches", "value": "(a{1000}){1000}"}"#)
                .detail
                .contains("large")
        );
        assert_eq!(told(problem(r#"{"all": [], "any": []}"#)).0, "/any");
        assert_eq!(problem(r#"{"property": "", "op": "is_set"}"#).path.as_deref(), Some("/property"));
    }

    #[test]
    fn a_filter_may_be_deep_but_not_bottomless() {
        let deep = |levels: usize| {
            format!("{}{}{}", r#"{"not":"#.repeat(levels), r#"{"all":[]}"#, "}".repeat(levels))
        };
        assert!(parse(&deep(FILTER_DEPTH_MAX - 1)).is_ok());
        assert!(parse(&deep(FILTER_DEPTH_MAX)).unwrap_err().detail.contains("nested"));
    }
}
