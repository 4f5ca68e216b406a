"""`python -m gradience.report.rule_page` prints the docs' page of rules."""

import sys

from gradience.policy import catalogue
from gradience.report import rule_text

if __name__ == "__main__":
    sys.stdout.write(rule_text.page(catalogue.shipped().rules.values()))
