"""Texts that want to run a script, ask another host for something, or open a dialog."""

from __future__ import annotations

DOES = "window.pwned=1"
VECTORS = (
    f"<script>{DOES}</script>",
    f"<img src=x onerror={DOES}>",
    f"<img src='http://evil.test/p.png' onload={DOES}>",
    f"<svg onload={DOES}>",
    f"<svg><script>{DOES}</script></svg>",
    f"<svg><animate onbegin={DOES} attributeName=x dur=1s>",
    f"<svg><a xlink:href='javascript:{DOES}'><text>x</text></a></svg>",
    f"<math><mi xlink:href='javascript:{DOES}'>x</mi></math>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--><img src onerror={DOES}>'>",
    f"<iframe srcdoc='<script>parent.{DOES}</script>'></iframe>",
    f"<iframe src='javascript:parent.{DOES}'></iframe>",
    f"<details open ontoggle={DOES}>",
    f"<video><source onerror={DOES}></video>",
    f"<input autofocus onfocus={DOES}>",
    f"<body onload={DOES}>",
    f"<a href='javascript:{DOES}'>x</a>",
    f"<form action='javascript:{DOES}'><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=http://evil.test/'>",
    "<link rel=stylesheet href=http://evil.test/s.css>",
    "<style>@import 'http://evil.test/s.css'; body { display: none }</style>",
    "<base href=http://evil.test/>",
    "<object data=http://evil.test/o></object><embed src=http://evil.test/e>",
    "<template shadowrootmode=open><slot onslotchange=x></template>",
    f"<noscript><p title='</noscript><img src=x onerror={DOES}>'>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={DOES}>",
    f"[x](javascript:{DOES})",
    f"[x](JaVaScRiPt&colon;{DOES})",
    f"[x](\x01javascript:{DOES})",
    f"[x](data:text/html,<script>{DOES}</script>)",
    f"![x](javascript:{DOES})",
    f'![x](http://evil.test/i.png "" onerror={DOES} x="")',
    f"![x](data:image/svg+xml,<svg/onload={DOES}>)",
    f"<javascript:{DOES}>",
    f"$\\href{{javascript:{DOES}}}{{x}}$",
    f"$\\html{{<img src=x onerror={DOES}>}}$",
    "$\\includegraphics[height=1em]{http://evil.test/m.png}$",
    f"$\\htmlData{{x=y onclick={DOES}}}{{z}}$",
    f"$\\text{{</annotation-xml><img src=x onerror={DOES}>}}$",
)
PLACES = (
    "{}", "# {}", "- {}", "1. {}", "> {}", "**{}**", "_{}_", "~~{}~~", "`{}`", "[{}](#x)",
    "| a |\n| - |\n| {} |", "```{}\nx\n```", "```html\n{}\n```", "    {}", "$${}$$", "\\({}\\)",
    "<div>\n\n{}\n\n</div>", "<!-- {} -->", "[^1]: {}",
)  # fmt: skip

PAYLOADS = tuple(place.format(vector) for place in PLACES for vector in VECTORS)
"""Every vector in every place of a text: over 600."""
