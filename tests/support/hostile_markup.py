"""Texts and workflow IDs that might be mistaken for markup."""

PAYLOADS = [
    "<img src=x onerror=\"window.ran='img'\">",
    "`<img src=x onerror=\"window.ran='odd backtick'\">",
    "``<img src=x onerror=\"window.ran='two backticks'\">`",
    "a` <img src=x onerror=\"window.ran='unbalanced'\"> `b",
    '"><script>window.ran=1</script>',
    "'><svg onload=window.ran=1>",
    "</p></code></td></table><iframe srcdoc=\"<script>parent.ran='iframe'</script>\"></iframe>",
    '[click](javascript:window.ran=1) ![x](x"onerror="window.ran=1) <javascript:window.ran=1>',
    r"$\href{javascript:window.ran='math'}{click}$ and $x^2$",
    r"\begin{align}\href{javascript:window.ran=1}{click}\end{align} \(x^2\) \[y^2\]",
    r"$\require{html}\style{position:fixed}{x}$ costs $5 to $6",
    "javascript:window.ran=1//order-x",
    "order-x/../../../?q=<b>bold</b>&amp;lt;",
    "# heading\n\n<b>bold</b>\n\n| a | b |\n|---|---|\n",
    "&lt;b&gt; is no <b>bold</b>",
    "name \u202egnp.exe \x1b[31mred\x9b31m \u200bzero \u2028line \U000e0041tag",
]
