"""The frame around every page: set-up, navigation, the shared inputs, one guard against errors.

A new page is one line in PAGES and one file beside this one.
"""


import streamlit as st

from core.basics.places import ASSETS
from pages.server.operators import drawn
from pages.server.turns import turn
from pages.shared import inputs, parts

SIDEBAR_PX = 310

PAGES = [
    st.Page(
        "plan.py",
        title="Plan",
        icon=":material/target:",
        default=True,
        help="Which precision and batch size to deploy for this model, GPU and load, and why.",
    ),
    st.Page("compare/compare.py", title="Compare", icon=":material/compare_arrows:",
            help="One workload over every GPU: cheapest, fastest, smallest, and the files that launch it."),
    st.Page("regime/regime.py", title="Bottleneck", url_path="bottleneck", icon=":material/stacked_line_chart:",
            help="What limits prefill and decode, where that flips, and what would help each."),
    st.Page("traffic/traffic.py", title="Traffic", icon=":material/traffic:",
            help="How many replicas hold your requests per second, how long they wait, what that costs."),
    st.Page("probe/probe.py", title="Measure", icon=":material/speed:",
            help="Measure the engine, a server or this machine's GPU; the plan follows what is measured."),
    st.Page("quality/quality.py", title="Quality", icon=":material/fact_check:",
            help="What each format costs on your own prompts, before you deploy it."),
    st.Page("catalogue/catalogue.py", title="Catalogue", icon=":material/menu_book:",
            help="Models, GPUs, formats and prices with their sources; add your own."),
    st.Page("saved.py", title="Saved", icon=":material/bookmarks:",
            help="Plans you kept: reopen, compare, take away."),
    st.Page("accuracy.py", title="Accuracy", icon=":material/verified:",
            help="How far the estimates have been from published figures."),
    st.Page("regime/regime.py", title="Bottleneck", url_path="regime", visibility="hidden"),     # as it was called
]

with parts.guard(), turn():
    st.set_page_config(
        page_title="Sweetspot",
        page_icon=str(ASSETS / "icon.svg"),
        layout="wide",
        initial_sidebar_state=SIDEBAR_PX,
    )
    st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
    page = st.navigation(PAGES, position="top")
    with drawn(page.title):
        inputs.ask()
        page.run()
