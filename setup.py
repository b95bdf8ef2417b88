"""What setup.cfg cannot say: the stubs of Thespian are a package of their own (PEP 561).

In the repository they lie where mypy looks for them, under the name of what they describe.
"""

from setuptools import find_namespace_packages, find_packages, setup

SOURCE, STUBS = "typings/thespian", "thespian-stubs"

setup(
    packages=[
        *find_packages(include=["mosaik_actors*"]),
        STUBS,
        *(f"{STUBS}.{name}" for name in find_namespace_packages(SOURCE)),
    ],
    package_dir={STUBS: SOURCE},
    package_data={"mosaik_actors": ["py.typed"], STUBS: ["py.typed"], "": ["*.pyi"]},
)
