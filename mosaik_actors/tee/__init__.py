"""Trusted domains (Intel TDX): who may take part, proven by hardware.

From the lowest up: `measurement`, `quote` (the bytes), `sources` (who makes quotes) and
`measurements`; `collateral`, `store` and `refresh` (by what quotes are judged); `roots`,
`packing` (how a quote travels and is bound), `checking` (is it genuine); on top `ticket` and
`validator` (is it good enough). `der` and `simulated` make quotes without hardware; `tdvf`,
`authenticode` and `prediction` work out what the registers of an image will be.

Everything is a pure core but `sources` and `store`, which ask the kernel and read files. The
packages `dcap-qvl` and `zstandard` are loaded when a quote is packed or checked: the extra `tdx`.
"""
