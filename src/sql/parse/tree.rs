//! Walks the tree of a query: every relation, function and writing part in it, however deep.

use super::nodes::SubLinkType;
use super::{Node, NodeList, nodes, qualified_name};
use crate::sql::effects::{NeedsPrimary, SessionState};
use crate::sql::findings::Findings;

/// Reports what is in `root` and below it. `tracked` are calls of `set_config()` that have been reported as
/// changes of settings and must not be reported again.
///
/// Chains such as `1 + 1 + ...` make trees as deep as the text is long, so the walk keeps its own stack.
pub(super) fn walk<'a>(root: Node<'a>, tracked: &[&'a nodes::FuncCall], findings: &mut Findings) {
    let mut walk = Walk { pending: vec![root], tracked, findings };
    while let Some(node) = walk.pending.pop() {
        let known = walk.expression(node) || walk.source(node) || walk.query(node) || walk.json(node);
        if !known {
            walk.findings.needs_primary(NeedsPrimary::Utility);
            walk.findings.may_leave(SessionState::OPAQUE_CODE);
        }
    }
}

struct Walk<'a, 'f> {
    pending: Vec<Node<'a>>,
    tracked: &'f [&'a nodes::FuncCall],
    findings: &'f mut Findings,
}

// Each of the four below takes the kinds of node it knows, puts their parts on the stack and returns true.
impl<'a> Walk<'a, '_> {
    fn expression(&mut self, node: Node<'a>) -> bool {
        match node {
            Node::None
            | Node::A_Const(_)
            | Node::A_Star(_)
            | Node::ParamRef(_)
            | Node::SQLValueFunction(_)
            | Node::SetToDefault(_)
            | Node::CurrentOfExpr(_)
            | Node::MergeSupportFunc(_)
            | Node::String(_) => {}
            Node::NodeList(list) => self.list(list),
            Node::ColumnRef(column) => self.column(column),
            Node::FuncCall(call) => self.call(call),
            Node::A_Expr(it) => {
                self.operator(it.name());
                self.push([it.lexpr(), it.rexpr()]);
            }
            Node::BoolExpr(it) => self.list(it.args()),
            Node::NullTest(it) => self.push([it.arg()]),
            Node::BooleanTest(it) => self.push([it.arg()]),
            Node::TypeCast(it) => {
                self.type_name(it.type_name());
                self.push([it.arg()]);
            }
            Node::CollateClause(it) => self.push([it.arg()]),
            Node::NamedArgExpr(it) => self.push([it.arg()]),
            Node::MultiAssignRef(it) => self.push([it.source()]),
            Node::SubLink(it) => {
                self.operator(it.oper_name());
                // `x IN (SELECT ...)`.
                if it.sub_link_type == SubLinkType::ANY_SUBLINK && it.oper_name().is_empty() {
                    self.equals();
                }
                self.push([it.testexpr(), it.subselect()]);
            }
            Node::CaseExpr(it) => {
                if !matches!(it.arg(), Node::None) {
                    self.equals();
                }
                self.push([it.arg(), it.defresult()]);
                self.list(it.args());
            }
            Node::CaseWhen(it) => self.push([it.expr(), it.result()]),
            Node::CoalesceExpr(it) => self.list(it.args()),
            Node::MinMaxExpr(it) => self.list(it.args()),
            Node::RowExpr(it) => self.list(it.args()),
            Node::GroupingFunc(it) => self.list(it.args()),
            Node::GroupingSet(it) => self.list(it.content()),
            Node::A_ArrayExpr(it) => self.list(it.elements()),
            Node::A_Indices(it) => self.push([it.lidx(), it.uidx()]),
            Node::A_Indirection(it) => {
                self.push([it.arg()]);
                self.list(it.indirection());
                for name in it.indirection().iter().filter_map(Node::as_str) {
                    self.findings.field_or_function(name);
                }
            }
            Node::XmlExpr(it) => {
                self.list(it.named_args());
                self.list(it.args());
            }
            Node::XmlSerialize(it) => {
                self.type_name(it.type_name());
                self.push([it.expr()]);
            }
            _ => return false,
        }
        true
    }

    fn source(&mut self, node: Node<'a>) -> bool {
        match node {
            Node::RangeVar(table) => {
                self.findings.relation(table.schemaname(), table.relname().unwrap_or(""));
            }
            Node::JoinExpr(it) => {
                if it.is_natural || !it.using_clause().is_empty() {
                    self.equals();
                }
                self.push([it.larg(), it.rarg(), it.quals()]);
            }
            Node::RangeSubselect(it) => self.push([it.subquery()]),
            // A list for each function: the call, and its column definitions or nothing. Those of a single function
            // stand beside it.
            Node::RangeFunction(it) => {
                self.list(it.functions());
                self.push(it.coldeflist().iter().map(Node::ColumnDef));
            }
            Node::ColumnDef(it) => {
                self.type_name(it.type_name());
                self.push([it.raw_default()]);
            }
            Node::RangeTableSample(it) => {
                let (schema, method) = qualified_name(it.method());
                if !matches!((schema, method), (None | Some("pg_catalog"), "bernoulli" | "system")) {
                    self.findings.function(schema, method, None);
                }
                self.push([it.relation(), it.repeatable()]);
                self.list(it.args());
            }
            Node::RangeTableFunc(it) => {
                self.push([it.docexpr(), it.rowexpr()]);
                self.list(it.namespaces());
                self.push(it.columns().iter().map(Node::RangeTableFuncCol));
            }
            Node::RangeTableFuncCol(it) => {
                self.type_name(it.type_name());
                self.push([it.colexpr(), it.coldefexpr()]);
            }
            _ => return false,
        }
        true
    }

    fn query(&mut self, node: Node<'a>) -> bool {
        match node {
            Node::SelectStmt(it) => self.select(it),
            Node::ResTarget(it) => {
                self.push([it.val()]);
                self.list(it.indirection());
            }
            Node::SortBy(it) => {
                self.operator(it.use_op());
                self.push([it.node()]);
            }
            Node::WindowDef(it) => self.window(it),
            Node::WithClause(it) => self.push(it.ctes().iter().map(Node::CommonTableExpr)),
            Node::CommonTableExpr(it) => {
                self.findings.cte(it.ctename().unwrap_or(""));
                self.push([it.ctequery()]);
                if let Some(cycle) = it.cycle_clause() {
                    self.push([cycle.cycle_mark_value(), cycle.cycle_mark_default()]);
                }
            }
            Node::InsertStmt(it) => {
                self.writes(it.relation(), it.with_clause(), it.returning_clause());
                self.push([it.select_stmt()]);
                self.list(it.cols());
                self.push(it.on_conflict_clause().map(Node::OnConflictClause));
            }
            Node::UpdateStmt(it) => {
                self.writes(it.relation(), it.with_clause(), it.returning_clause());
                self.push([it.where_clause()]);
                self.list(it.from_clause());
                self.push(it.target_list().iter().map(Node::ResTarget));
            }
            Node::DeleteStmt(it) => {
                self.writes(it.relation(), it.with_clause(), it.returning_clause());
                self.push([it.where_clause()]);
                self.list(it.using_clause());
            }
            Node::MergeStmt(it) => {
                self.writes(it.relation(), it.with_clause(), it.returning_clause());
                self.push([it.source_relation(), it.join_condition()]);
                self.push(it.merge_when_clauses().iter().map(Node::MergeWhenClause));
            }
            Node::MergeWhenClause(it) => {
                self.push([it.condition()]);
                self.list(it.target_list());
                self.list(it.values());
            }
            Node::OnConflictClause(it) => {
                self.push([it.where_clause()]);
                self.push(it.target_list().iter().map(Node::ResTarget));
                self.push(it.infer().map(Node::InferClause));
            }
            Node::InferClause(it) => {
                self.push([it.where_clause()]);
                self.list(it.index_elems());
            }
            Node::IndexElem(it) => self.push([it.expr()]),
            _ => return false,
        }
        true
    }

    fn json(&mut self, node: Node<'a>) -> bool {
        match node {
            Node::JsonValueExpr(it) => self.push([it.raw_expr()]),
            Node::JsonKeyValue(it) => {
                self.push([it.key()]);
                self.push(it.value().map(Node::JsonValueExpr));
            }
            Node::JsonArgument(it) => self.push(it.val().map(Node::JsonValueExpr)),
            Node::JsonBehavior(it) => self.push([it.expr()]),
            Node::JsonIsPredicate(it) => self.push([it.expr()]),
            Node::JsonParseExpr(it) => {
                self.json_output(it.output());
                self.push(it.expr().map(Node::JsonValueExpr));
            }
            Node::JsonScalarExpr(it) => {
                self.json_output(it.output());
                self.push([it.expr()]);
            }
            Node::JsonSerializeExpr(it) => {
                self.json_output(it.output());
                self.push(it.expr().map(Node::JsonValueExpr));
            }
            Node::JsonObjectConstructor(it) => {
                self.json_output(it.output());
                self.push(it.exprs().iter().map(Node::JsonKeyValue));
            }
            Node::JsonArrayConstructor(it) => {
                self.json_output(it.output());
                self.push(it.exprs().iter().map(Node::JsonValueExpr));
            }
            Node::JsonArrayQueryConstructor(it) => {
                self.json_output(it.output());
                self.push([it.query()]);
            }
            Node::JsonObjectAgg(it) => {
                self.json_aggregate(it.constructor());
                self.push(it.arg().map(Node::JsonKeyValue));
            }
            Node::JsonArrayAgg(it) => {
                self.json_aggregate(it.constructor());
                self.push(it.arg().map(Node::JsonValueExpr));
            }
            Node::JsonFuncExpr(it) => {
                self.json_output(it.output());
                self.push(it.context_item().map(Node::JsonValueExpr));
                self.push([it.pathspec()]);
                self.list(it.passing());
                self.push(it.on_empty().into_iter().chain(it.on_error()).map(Node::JsonBehavior));
            }
            // The paths of a JSON_TABLE are string constants.
            Node::JsonTable(it) => {
                self.push(it.context_item().map(Node::JsonValueExpr));
                self.list(it.passing());
                self.push(it.columns().iter().map(Node::JsonTableColumn));
                self.push(it.on_error().map(Node::JsonBehavior));
            }
            Node::JsonTableColumn(it) => {
                self.type_name(it.type_name());
                self.list(it.columns());
                self.push(it.on_empty().into_iter().chain(it.on_error()).map(Node::JsonBehavior));
            }
            _ => return false,
        }
        true
    }

    fn select(&mut self, it: &'a nodes::SelectStmt) {
        if !it.locking_clause().is_empty() {
            self.findings.needs_primary(NeedsPrimary::Locks);
        }
        if let Some(into) = it.into_clause() {
            self.findings.needs_primary(NeedsPrimary::Into);
            super::utility::created(into.rel(), self.findings);
        }
        self.push(it.target_list().iter().map(Node::ResTarget));
        self.push(it.sort_clause().iter().map(Node::SortBy));
        self.push(it.with_clause().map(Node::WithClause));
        self.push(it.larg().into_iter().chain(it.rarg()).map(Node::SelectStmt));
        self.push([it.where_clause(), it.having_clause(), it.limit_count(), it.limit_offset()]);
        for list in
            [it.distinct_clause(), it.from_clause(), it.group_clause(), it.window_clause(), it.values_lists()]
        {
            self.list(list);
        }
    }

    fn window(&mut self, it: &'a nodes::WindowDef) {
        self.list(it.partition_clause());
        self.push(it.order_clause().iter().map(Node::SortBy));
        self.push([it.start_offset(), it.end_offset()]);
    }

    fn call(&mut self, it: &'a nodes::FuncCall) {
        if !self.tracked.iter().any(|known| std::ptr::eq(*known, it)) {
            let (schema, name) = qualified_name(it.funcname());
            // An aggregate with WITHIN GROUP takes part of its arguments from there.
            let arguments = (!it.agg_within_group).then(|| u16::try_from(it.args().len()).ok()).flatten();
            self.findings.function(schema, name, arguments);
        }
        self.list(it.args());
        self.push([it.agg_filter()]);
        self.push(it.agg_order().iter().map(Node::SortBy));
        self.push(it.over().map(Node::WindowDef));
    }

    fn column(&mut self, it: &'a nodes::ColumnRef) {
        let fields = it.fields();
        if let Some(name) = fields.iter().next_back().and_then(Node::as_str) {
            self.findings.column(fields.len() > 1, name);
        }
    }

    /// Notes the operator of an expression; the grammar names what BETWEEN and the like stand for.
    fn operator(&mut self, names: &NodeList) {
        let (schema, name) = qualified_name(names);
        match name {
            "" => {}
            "BETWEEN" | "NOT BETWEEN" | "BETWEEN SYMMETRIC" | "NOT BETWEEN SYMMETRIC" => {
                for name in ["<", "<=", ">", ">="] {
                    self.findings.operator(None, name);
                }
            }
            _ => self.findings.operator(schema, name),
        }
    }

    /// Notes the `=` that PostgreSQL looks up by this name where the text compares without an operator.
    fn equals(&mut self) {
        self.findings.operator(None, "=");
    }

    /// Notes a type. Its modifiers are constants, whatever the grammar lets through.
    fn type_name(&mut self, it: Option<&nodes::TypeName>) {
        let Some(it) = it else { return };
        let mut names = it.names().iter().rev().filter_map(|name| name.sval());
        if let Some(name) = names.next() {
            self.findings.type_name(names.next(), name);
        }
    }

    fn json_output(&mut self, it: Option<&nodes::JsonOutput>) {
        self.type_name(it.and_then(|it| it.type_name()));
    }

    fn json_aggregate(&mut self, it: Option<&'a nodes::JsonAggConstructor>) {
        let Some(it) = it else { return };
        self.json_output(it.output());
        self.push([it.agg_filter()]);
        self.list(it.agg_order());
        self.push(it.over().map(Node::WindowDef));
    }

    /// The parts which all statements that write have in common.
    fn writes(
        &mut self,
        target: Option<&'a nodes::RangeVar>,
        with: Option<&'a nodes::WithClause>,
        returning: Option<&'a nodes::ReturningClause>,
    ) {
        self.findings.needs_primary(NeedsPrimary::Writes);
        if let Some(target) = target {
            self.findings.write_target(target.schemaname(), target.relname().unwrap_or(""));
        }
        self.push(with.map(Node::WithClause));
        if let Some(returning) = returning {
            self.list(returning.exprs());
        }
    }

    fn list(&mut self, list: &'a NodeList) {
        self.pending.extend(list.iter());
    }

    fn push(&mut self, nodes: impl IntoIterator<Item = Node<'a>>) {
        self.pending.extend(nodes);
    }
}
