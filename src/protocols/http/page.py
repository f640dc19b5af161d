"""The OpenAPI document as a page for people: one file, no script, nothing from elsewhere."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
"""The Content-Security-Policy to send with it."""

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ document.info.title }}: REST interface</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --get: #1a6fb4; --post: #2a7d3c; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 2.2rem 0 .6rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: 0 .8rem; }
summary { cursor: pointer; padding: .5rem 0; }
.method { display: inline-block; width: 3.4rem; font-weight: 700; color: var(--get); }
.post .method { color: var(--post); }
.what { opacity: .75; margin-left: .6rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-top: 1px solid var(--line); }
</style>
<h1>{{ document.info.title }}</h1>
<p>{{ document.info.description }}
The same for programs: <a href="openapi.json">openapi.json</a>, OpenAPI {{ document.openapi }}.</p>
{% for tag in document.tags %}
<h2>{{ tag.name }}</h2>
{% for path, operations in document.paths.items() %}
{% for method, each in operations.items() if tag.name in each.tags %}
<details class="{{ method }}" id="{{ each.operationId }}">
<summary><span class="method">{{ method|upper }}</span><code>{{ path }}</code>
<span class="what">{{ each.summary }}</span></summary>
{% for part in (each.description or "").split("\n\n") if part %}<p>{{ part }}</p>{% endfor %}
{% if each.security %}<p>Takes a user name and password, a token, or the cookie of a page
{%- if {} in each.security %}, once there are users{% endif %}.</p>{% endif %}
{% if each.parameters %}<table><tr><th>Parameter<th>In<th>Values<th></tr>
{% for parameter in each.parameters %}
<tr><td><code>{{ parameter.name }}</code><td>{{ parameter.in }}
<td>{{ (parameter.schema.enum or [parameter.schema.const or "any"])|join(", ") }}<td>{{ parameter.description }}</tr>
{% endfor %}</table>{% endif %}
{% if each.requestBody %}<p>Body: {{ each.requestBody.content.keys()|join(", ") }}</p>{% endif %}
<pre>{{ curl(path, method, each) }}</pre>
<table><tr><th>Code<th>Meaning<th>Body</tr>
{% for code, answer in each.responses.items() %}
<tr><td>{{ code }}<td>{{ answer.description }}<td>
{% for kind, body in (answer.content or {}).items() %}
{% set name = (body.schema["$ref"] or "").split("/")[-1] if body.schema else "" %}
{{ kind }}{% if name %}: <a href="#{{ name }}">{{ name }}</a>{% endif %}<br>
{% endfor %}</tr>
{% endfor %}</table>
</details>
{% endfor %}{% endfor %}{% endfor %}
<h2>Schemas</h2>
{% for name, schema in document.components.schemas.items() %}
<details id="{{ name }}"><summary><code>{{ name }}</code></summary><pre>{{ pretty(schema) }}</pre></details>
{% endfor %}
</html>
"""

_template = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)


def render(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document as openapi.py makes it."""

    def curl(path: str, method: str, each: dict[str, Any]) -> str:
        for parameter in each.get("parameters", ()):
            if parameter["in"] == "path":
                values = parameter["schema"].get("enum") or [parameter["schema"].get("const", "1")]
                path = path.replace(f"{{{parameter['name']}}}", "lenet" if "lenet" in values else values[0])
        user = "-u name:password " if each.get("security") else ""
        post = "" if method == "get" else f"-X {method.upper()} "
        content = each.get("requestBody", {}).get("content", {})
        body = ""
        if "image/png" in content:
            post, body = "", "--data-binary @picture.png "
        elif content:
            post, body = "", "-H 'Content-Type: application/json' --data @request.json "
        return f"curl {user}{post}{body}{document['servers'][0]['url']}{path}"

    def pretty(schema: Any) -> str:
        return json.dumps(schema, indent=2, ensure_ascii=False)

    return _template.render(document=document, curl=curl, pretty=pretty)
