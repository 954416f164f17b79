"""Every behaviour of the org that can be switched, with its default and what it stands for.

Salesforce's documents leave points open, and orgs differ: whatever API notes 8 lists, and whatever
API notes 9 calls unverified, is an option here, so a client can be run against either form.
Defaults are the form thought most likely. An option is set with ``--option name=value``, or over
the control endpoint while the org runs.
"""

from __future__ import annotations

import threading
import types
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def _option(default: Any, explanation: str) -> Any:
    return field(default=default, metadata={"explanation": explanation})


@dataclass
class Options:
    """The org's switches. Read as attributes; change with ``set``, which checks the value."""

    # --- values as they are written out
    csv_double_form: Literal["decimal", "integer"] = _option(
        "decimal", "whole doubles in Bulk CSV: 87.0 (decimal) or 87 (integer)"
    )
    json_double_form: Literal["decimal", "integer"] = _option(
        "decimal", "whole doubles in REST JSON: 87.0 (decimal) or 87 (integer)"
    )
    csv_double_exponent: bool = _option(
        True, "doubles from 1e7 up, or below 1e-3, in Bulk CSV in Java form: 1.6147805824397E13"
    )
    textarea_line_ending: Literal["as_sent", "crlf"] = _option(
        "as_sent", "line ends in text areas: kept as sent, or turned to CR LF as the browser sends"
    )
    # --- saving
    chunk_rows: int = _option(200, "rows saved together under one stamp")
    number_rounding: Literal["half_up", "error"] = _option(
        "half_up", "more decimals than the field's scale: rounded half up, or refused"
    )
    no_change_update_moves_stamp: bool = _option(
        True, "an update that changes nothing moves both stamps all the same"
    )
    checkbox_null: Literal["false", "error"] = _option(
        "false", "#N/A or null on a checkbox: stored as false, or refused"
    )
    required_null: Literal["error", "ignore"] = _option(
        "error", "#N/A or null on a required field: REQUIRED_FIELD_MISSING, or passed over"
    )
    csv_booleans: Literal["strict", "lenient"] = _option(
        "lenient", "checkbox text in ingest CSV: true/false only, or 1/0 and any case too"
    )
    csv_header_case: Literal["exact", "ignore"] = _option(
        "exact", "column names of ingest CSV: compared exactly, or whatever the case"
    )
    csv_whole_ints: bool = _option(True, "87.0 is taken for an int field; 87.5 never is")
    duplicate_id_fails: Literal["later", "all"] = _option(
        "later", "an id twice in one chunk: the later rows fail, or all of them"
    )
    json_wrong_type: Literal["request", "row"] = _option(
        "request",
        "a JSON value of the wrong type: JSON_PARSER_ERROR for the whole request, or "
        "INVALID_TYPE_ON_FIELD_IN_RECORD for its row",
    )
    deserialize_column_base: int = _option(
        1, "number of the first column in 'Failed to deserialize field at col N'"
    )
    trim_text: bool = _option(True, "text is trimmed at both ends when saved (NBSP is not blank)")
    multi_currency: bool = _option(
        False, "several currencies: records carry CurrencyIsoCode; amounts are not converted"
    )
    person_accounts: bool = _option(
        False, "person accounts are on: accounts of people, each with a hidden contact"
    )
    edit_converted_leads: bool = _option(
        False, "users hold 'View and Edit Converted Leads': a converted lead can be updated"
    )
    rollup_moves_parent_stamp: bool = _option(
        False, "saving or removing a contact moves the SystemModstamp of its account"
    )
    late_commit_stamp: Literal["start", "commit"] = _option(
        "start", "stamp of a late commit: when its transaction began, or when it became visible"
    )
    lock_probability: float = _option(0.0, "chance of UNABLE_TO_LOCK_ROW for each row of an update")
    lock_whole_chunk: bool = _option(
        False, "a row that cannot be locked fails its whole chunk, not just itself"
    )
    random_seed: int = _option(1, "seed of everything left to chance here: order, locks")
    # --- queries
    shuffle_ties: bool = _option(
        True, "rows that ORDER BY leaves equal (all, without one) come in no useful order"
    )
    query_page_rows: int = _option(2000, "rows of a REST query page at most")
    query_page_rows_min: int = _option(200, "the least batchSize that Sforce-Query-Options can ask")
    cursor_life_seconds: int = _option(2 * 24 * 3600, "life of a query cursor")
    csv_boolean_query: Literal["true", "TRUE"] = _option("true", "spelling of true in Bulk CSV")
    bulk_supports_order_by: bool = _option(True, "ORDER BY and LIMIT in bulk queries are accepted")
    collections_parent_fields: bool = _option(
        False, "reading records by ids (collections) accepts parent fields such as Account.Name"
    )
    id_in_like: bool = _option(False, "LIKE is accepted on id fields")
    # --- HTTP form
    csv_charset: bool = _option(True, "bulk CSV answers name charset=UTF-8 in Content-Type")
    bulk_header_every_page: bool = _option(
        True, "each page of bulk query results has a header row, not the first alone"
    )
    bulk_zero_rows: Literal["header", "empty", "no_content"] = _option(
        "header", "a bulk query without rows answers: the header line, an empty body, or 204"
    )
    bulk_page_rows: int = _option(100_000, "rows of a page of bulk results when none are asked")
    bulk_no_results: Literal["no_content", "error"] = _option(
        "error", "results of a job that has none to give: 204, or 400"
    )
    result_headers_quoted: bool = _option(
        False, "uploaded column names are quoted in ingest results (sf__ ones always are)"
    )
    shuffle_results: bool = _option(True, "ingest results come in another order than was sent")
    failed_results_have_id: bool = _option(True, "failedResults fill sf__Id where the row had one")
    check_line_ending: bool = _option(True, "a file whose line ends are not the job's fails it")
    check_newlines_in_cells: bool = _option(
        False, "the check of line ends counts newlines inside quoted cells too"
    )
    bulk_bom: Literal["accept", "refuse"] = _option(
        "refuse", "a byte order mark before the CSV header: passed over, or part of the first name"
    )
    invalid_client_status: int = _option(400, "HTTP status of a token error invalid_client")
    token_format: bool = _option(True, 'token answers carry "token_format":"opaque"')
    count_token_calls: bool = _option(False, "token requests count as API calls")
    count_polls: bool = _option(True, "polls of bulk jobs count as API calls")
    count_result_pages: bool = _option(True, "reading bulk results counts as API calls")
    limit_info_lag: int = _option(0, "Sforce-Limit-Info lags this many calls behind")
    per_app_usage: bool = _option(False, "Sforce-Limit-Info names per-app-api-usage too")
    api_calls_max: int = _option(15_000, "API calls in a rolling 24 hours")
    enforce_api_limit: bool = _option(
        True, "past the limit calls answer 403 REQUEST_LIMIT_EXCEEDED"
    )
    session_seconds: int = _option(2 * 3600, "a session expires after this long without use")
    password_grant: bool = _option(True, "the OAuth user name and password flow is allowed")
    soap_login: bool = _option(True, "SOAP login is allowed (versions up to 64.0)")
    refresh_token_rotation: bool = _option(False, "a refresh token dies when used; a new one comes")
    shared_session: bool = _option(
        False, "one session for all logins of the same user and client: revoking ends all"
    )
    error_insufficient_access_status: int = _option(
        403, "HTTP status of INSUFFICIENT_ACCESS_OR_READONLY on REST"
    )
    entity_is_deleted_status: int = _option(404, "HTTP status of ENTITY_IS_DELETED on REST")
    soql_url_characters: int = _option(16_384, "longest request URL; beyond it 414")
    gzip: bool = _option(True, "answers are gzipped for clients that accept it")
    query_retry_after_header: bool = _option(False, "503 answers carry Retry-After")
    version_min: int = _option(31, "oldest API version; below it requests answer 410 GONE")
    version_max: int = _option(67, "newest API version; above it requests answer 404")
    authorize_automatically: bool = _option(
        False, "the authorization page redirects with a code at once, without asking"
    )
    # --- bulk jobs
    job_queue_seconds: float = _option(0.0, "time that a job stays UploadComplete")
    job_chunk_seconds: float = _option(0.0, "time that each chunk of a job takes (a slow trigger)")
    upload_bytes_max: int = _option(150 * 1000 * 1000, "largest upload, after base64")
    query_jobs_max: int = _option(10_000, "bulk query jobs in a rolling 24 hours")
    batches_max: int = _option(15_000, "ingest batches of 10,000 rows in a rolling 24 hours")
    jobs_kept_seconds: int = _option(7 * 24 * 3600, "how long finished jobs and results are kept")
    list_page_jobs: int = _option(1000, "jobs on a page of the job lists")

    def __post_init__(self) -> None:
        """Make a lock, so that a reader never sees half a change of several."""
        self._lock = threading.Lock()

    def set(self, name: str, value: object) -> None:
        """Change one option; text is read as its type.

        Raises:
            ValueError: there is no such option, or it does not take the value; the text says what
                it takes.
        """
        kinds = _kinds()
        if name not in kinds:
            raise ValueError(f"unknown option {name!r}. Use one of: {', '.join(sorted(kinds))}")
        with self._lock:
            setattr(self, name, _read(name, kinds[name], value))

    def as_dict(self) -> dict[str, object]:
        """Give every option with its present value."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def changed(self) -> dict[str, object]:
        """Give the options whose value is not the default."""
        return {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if getattr(self, entry.name) != entry.default
        }

    @staticmethod
    def describe() -> list[dict[str, object]]:
        """List name, accepted values, default and explanation of every option."""
        kinds = _kinds()
        return [
            {
                "name": entry.name,
                "type": _kind_text(kinds[entry.name]),
                "default": entry.default,
                "explanation": entry.metadata["explanation"],
            }
            for entry in fields(Options)
        ]


def _kinds() -> dict[str, Any]:
    hints = get_type_hints(Options)
    return {entry.name: hints[entry.name] for entry in fields(Options)}


def _kind_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " | ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in {Union, types.UnionType}:
        return " | ".join(_kind_text(part) for part in get_args(kind))
    return str(kind.__name__)


def _read(name: str, kind: Any, value: object) -> object:
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
    # bool("false") would be True.
    elif kind is bool:
        text = str(value).lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    # True is no number here, although Python would take it for one.
    elif not isinstance(value, bool):
        try:
            return kind(value)
        except (TypeError, ValueError):
            pass

    raise ValueError(f"option {name} does not take {value!r}; it takes {_kind_text(kind)}")
