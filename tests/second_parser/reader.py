"""Reads SQL with another binding of PostgreSQL's grammar and says what is in it, by a walk of its own.

One JSON string a line comes in, one JSON object a line goes out: what each statement is, or that the grammar refuses it. The
walk visits whatever is in the tree, by the shape of the values and not by a list of node types, so that nothing can be left out
of it by oversight.
"""

import json
import sys
import threading

import pgparse

# Statements at the root of which nothing of the schema changes; for all others it may.
LEAVE_THE_SCHEMA = {
    "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt", "ExplainStmt", "CallStmt", "LockStmt",
    "TransactionStmt", "ConstraintsSetStmt", "VariableSetStmt", "VariableShowStmt", "DiscardStmt",
    "PrepareStmt", "ExecuteStmt", "DeallocateStmt", "DeclareCursorStmt", "FetchStmt", "ClosePortalStmt",
    "ListenStmt", "UnlistenStmt", "NotifyStmt", "LoadStmt", "CheckPointStmt", "AlterSystemStmt",
    "TruncateStmt", "VacuumStmt", "ClusterStmt", "ReindexStmt", "RefreshMatViewStmt", "CommentStmt", "SecLabelStmt",
    "GrantStmt", "GrantRoleStmt", "AlterDefaultPrivilegesStmt", "ReassignOwnedStmt", "AlterRoleStmt", "DropRoleStmt",
    "CreatedbStmt", "DropdbStmt", "AlterDatabaseStmt", "AlterDatabaseRefreshCollStmt",
    "CreateTableSpaceStmt", "DropTableSpaceStmt", "AlterTableSpaceOptionsStmt",
    "CreatePublicationStmt", "AlterPublicationStmt", "CreateSubscriptionStmt", "AlterSubscriptionStmt", "DropSubscriptionStmt",
}  # fmt: skip

# What a few settings were called once (guc.c), and what they are called.
OLD_NAMES = {"sort_mem": "work_mem", "vacuum_mem": "maintenance_work_mem"}

# Settings that end with the transaction, however they are set.
OF_ONE_TRANSACTION = {"transaction_isolation", "transaction_read_only", "transaction_deferrable"}

BETWEEN = {"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"}


def statement(raw, length):
    [(root, body)] = raw["stmt"].items()
    found = {"marks": set(), "names": set(), "ctes": set()}
    walk(root, body, found)
    start = raw.get("stmt_location", 0)
    ctes = found["ctes"]
    names = {
        f"{kind} {name} or WITH" if kind == "relation" and name in ctes else f"{kind} {name}" for kind, name in found["names"]
    }
    return {
        "root": root,
        "from": start,
        "upto": start + raw["stmt_len"] if "stmt_len" in raw else length,
        "marks": sorted(found["marks"]),
        "names": sorted(names),
        "effects": effects(root, body),
    }


def walk(kind, body, found):
    """Visits a node and all below it, with a stack of its own; `kind` is the field or the type that leads to it."""
    pending = [(kind, body)]
    while pending:
        kind, body = pending.pop()
        if isinstance(body, list):
            pending.extend((kind, item) for item in body)
        elif isinstance(body, dict):
            visit(kind, body, found)
            pending.extend(body.items())


def visit(kind, body, found):
    marks, names = found["marks"], found["names"]
    if kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt") or (kind == "CopyStmt" and body.get("is_from")):
        marks.add("writes")
    if kind == "CopyStmt" and not body.get("is_from") and not body.get("is_program") and "filename" not in body:
        marks.add("copies to the client")
    if "lockingClause" in body or kind == "LockStmt":
        marks.add("locks")
    if "intoClause" in body:
        marks.add("into")
    if "funcname" in body and "funcformat" in body:
        count = "?" if body.get("agg_within_group") else len(body.get("args", []))
        names.add(("function", f"{dotted(body['funcname'])}({count})"))
    if kind == "RangeTableSample" and dotted(body["method"]).removeprefix("pg_catalog.") not in ("bernoulli", "system"):
        names.add(("function", f"{dotted(body['method'])}(?)"))
    if "relname" in body and "relpersistence" in body:
        schema = body.get("schemaname")
        names.add(("relation", f"{schema}.{body['relname']}" if schema else body["relname"]))
    if kind == "CommonTableExpr":
        found["ctes"].add(body["ctename"])
    if kind == "A_Expr":
        operator = dotted(body["name"])
        operators = ["<", "<=", ">", ">="] if body["kind"] in BETWEEN else [operator]
        names.update(("operator", operator) for operator in operators)
    # What the analysis compares by the operator of this name, although none is written (parse_expr.c, parse_clause.c).
    compares = (
        (kind == "CaseExpr" and "arg" in body)
        or (kind == "SubLink" and body.get("subLinkType") == "ANY_SUBLINK" and not body.get("operName"))
        or (kind == "JoinExpr" and (body.get("isNatural") or body.get("usingClause")))
    )
    if compares:
        names.add(("operator", "="))
    for field in ("operName", "useOp"):
        if body.get(field):
            names.add(("operator", dotted(body[field])))
    if kind == "typeName" and "names" in body:
        names.add(("type", dotted(body["names"])))
    if kind == "ColumnRef" and len(body["fields"]) > 1 and "String" in body["fields"][-1]:
        names.add(("field", body["fields"][-1]["String"]["sval"]))
    if kind == "A_Indirection":
        names.update(("field", it["String"]["sval"]) for it in body["indirection"] if "String" in it)


def dotted(names):
    """Schema and name; a database before them can only be the current one."""
    return ".".join(name["String"].get("sval", "") for name in names[-2:])


def effects(root, body):
    """What a session must follow of it."""
    found = []
    if root == "TransactionStmt":
        kind = body.get("kind", "TRANS_STMT_BEGIN").removeprefix("TRANS_STMT_")
        words = {"START": "begin", "COMMIT_PREPARED": "finish prepared", "ROLLBACK_PREPARED": "finish prepared"}
        found.append(words.get(kind, kind.lower().replace("_", " ")))
    elif root == "VariableSetStmt" and body.get("kind") in ("VAR_SET_VALUE", "VAR_SET_DEFAULT", "VAR_RESET", None):
        # SET seed is setseed(), and no setting that could be carried elsewhere.
        name = body["name"].lower()
        if name != "seed" and name not in OF_ONE_TRANSACTION:
            found.append("set " + OLD_NAMES.get(name, name))
    elif root == "VariableSetStmt" and body["kind"] == "VAR_RESET_ALL":
        found.append("reset all")
    elif root == "VariableSetStmt" and body["name"] == "SESSION CHARACTERISTICS":
        found.extend("set default_" + mode["DefElem"]["defname"] for mode in body["args"])
    elif root == "DiscardStmt":
        found.append(body.get("target", "DISCARD_ALL").replace("_", " ").lower())
    prepared(root, body, found)
    if changes_schema(root, body):
        found.append("ddl")
    return sorted(found)


def prepared(root, body, found):
    """SQL-level prepared statements: EXECUTE may stand in EXPLAIN and in CREATE TABLE AS as well."""
    while root in ("ExplainStmt", "CreateTableAsStmt"):
        [(root, body)] = body["query"].items()
    if root == "PrepareStmt":
        found.append("prepare " + body["name"])
    elif root == "ExecuteStmt":
        found.append("execute " + body["name"])
    elif root == "DeallocateStmt":
        found.append("deallocate " + body["name"] if "name" in body else "deallocate all")


def changes_schema(root, body):
    if root == "ExplainStmt":
        [(root, body)] = body["query"].items()
    if root == "SelectStmt":
        while "larg" in body:
            body = body["larg"]
        return "intoClause" in body and not is_temporary(body["intoClause"]["rel"])
    if root == "CreateTableAsStmt":
        return not is_temporary(body["into"]["rel"])
    created = {"CreateStmt": "relation", "ViewStmt": "view", "CreateSeqStmt": "sequence", "CompositeTypeStmt": "typevar"}
    if root in created:
        return not is_temporary(body[created[root]])
    named = {"CreateFunctionStmt": "funcname", "CreateEnumStmt": "typeName", "CreateRangeStmt": "typeName",
             "CreateDomainStmt": "domainname", "DefineStmt": "defnames"}  # fmt: skip
    if root in named:
        return not dotted(body[named[root]]).startswith("pg_temp.")
    return root not in LEAVE_THE_SCHEMA


def is_temporary(relation):
    return relation.get("relpersistence") == "t" or relation.get("schemaname", "").startswith("pg_temp")


def answer(text):
    try:
        tree = pgparse.parse(text)
    except pgparse.PGQueryError as error:
        return {"error": str(error)}
    length = len(text.encode())
    return {"statements": [statement(raw, length) for raw in tree]}


def main():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))))


# The trees of chains are as deep as their texts are long, and the JSON reader of the library is recursive.
sys.setrecursionlimit(200_000)
threading.stack_size(512 << 20)
failures = []
threading.excepthook = failures.append
thread = threading.Thread(target=main)
thread.start()
thread.join()
if failures:
    raise failures[0].exc_value
