"""The contact fields that every Emarsys account has, and the choices that are documented for them.

Data only. A choice field whose list no source gives starts with an empty list, so that every value is refused until
a list is seeded through `/sandbox/fields`. The spelling of a few rarely used `string_id`s and types (19, 21–24,
27–30, 32–34, 36, 456–458) is our reading, since only their names are published.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from prima_emarsys.sandbox.emarsys.values import Type

EMAIL = 3
OPT_IN = 31
REGISTRATION_DATE = 48

GENDERS = {"1": "Male", "2": "Female"}
SALUTATIONS = {"1": "Mr", "2": "Mrs", "3": "Miss", "4": "Family", "5": "Company"}
EMAIL_FORMATS = {"1": "Automatic", "2": "HTML", "3": "Text"}
YES_NO = {"1": "True", "2": "False"}

_COUNTRIES = """
AF1 AL2 DZ3 AD4 AO5 AG6 AR7 AM8 AU9 AT10 AZ11 BS12 BH13 BD14 BB15 BY16 BE17 BZ18 BJ19 BT20 BO21 BA22 BW23 BR24 BN25
BG26 BF27 BI29 KH30 CM31 CA32 CV33 CF34 TD35 CL36 CN37 CO38 KM39 CG40 CD41 CR42 CI43 HR44 CU45 CY46 CZ47 DK48 DJ49 DM50
DO51 EC52 EG53 SV54 GQ55 ER56 EE57 ET58 FJ59 FI60 FR61 GA62 GM63 GE64 DE65 GH66 GR67 GD68 GT69 GN70 GW71 GY72 HT73 HN74
HU75 IS76 IN77 ID78 IR79 IQ80 IE81 IL82 IT83 JM84 JP85 JO86 KZ87 KE88 KI89 KP90 KR91 KW92 KG93 LA94 LV95 LB96 LS97 LR98
LY99 LI100 LT101 LU102 MK103 MG104 MW105 MY106 MV107 ML108 MT109 MH110 MR111 MU112 MX113 FM114 MD115 MC116 MN117 MA118
MZ119 MM120 NA121 NR122 NP123 NL124 NZ125 NI126 NE127 NG128 NO129 OM130 PK131 PW132 PA134 PG135 PY136 PE137 PH138 PL139
PT140 QA141 RO142 RU143 RW144 KN145 LC146 VC147 WS148 SM149 ST150 SA151 SN152 RS153 SC154 SL155 SG156 SK157 SI158 SB159
SO160 ZA161 ES162 LK163 SD164 SR165 SZ166 SE167 CH168 SY169 TW170 TJ171 TZ172 TH173 TG174 TO175 TT176 TN177 TR178 TM179
TV180 UG181 UA182 AE183 GB184 US185 UY186 UZ187 VU188 VA189 VE190 VN191 EH192 YE193 ZR195 ZM196 ZW197 GL198 VI199 IC201
ME202 GI203 AN204 HK205 MO206 TP258 KO259
"""
COUNTRIES = MappingProxyType({entry[2:]: entry[:2] for entry in _COUNTRIES.split()})
"""Choice id → two-letter code. Emarsys shows English names; the ids are what a client must get right."""

_NO_LIST: dict[str, str] = {}

SYSTEM_FIELDS: tuple[tuple[int, str, Type, bool, Mapping[str, str]], ...] = (
    # id, string_id, application type, read-only, choices
    (0, "interests", "multichoice", True, _NO_LIST),
    (1, "first_name", "shorttext", False, _NO_LIST),
    (2, "last_name", "shorttext", False, _NO_LIST),
    (EMAIL, "email", "longtext", False, _NO_LIST),
    (4, "birth_date", "date", False, _NO_LIST),
    (5, "gender", "singlechoice", False, GENDERS),
    (6, "marital_status", "singlechoice", False, _NO_LIST),
    (7, "children", "singlechoice", False, _NO_LIST),
    (8, "education", "singlechoice", False, _NO_LIST),
    (9, "title", "singlechoice", False, _NO_LIST),
    (10, "address", "longtext", False, _NO_LIST),
    (11, "city", "shorttext", False, _NO_LIST),
    (12, "state", "shorttext", False, _NO_LIST),
    (13, "zip_code", "shorttext", False, _NO_LIST),
    (14, "country", "singlechoice", False, COUNTRIES),
    (15, "phone", "shorttext", False, _NO_LIST),
    (16, "fax", "shorttext", False, _NO_LIST),
    (17, "company_position", "singlechoice", False, _NO_LIST),
    (18, "company_name", "longtext", False, _NO_LIST),
    (19, "company_department", "shorttext", False, _NO_LIST),
    (20, "company_industry", "singlechoice", False, _NO_LIST),
    (21, "company_phone", "shorttext", False, _NO_LIST),
    (22, "company_fax", "shorttext", False, _NO_LIST),
    (23, "company_employees", "shorttext", False, _NO_LIST),
    (24, "company_annual_revenue", "shorttext", False, _NO_LIST),
    (25, "url", "url", False, _NO_LIST),
    (26, "preferred_email_format", "singlechoice", False, EMAIL_FORMATS),
    (27, "average_visit_duration", "numeric", True, _NO_LIST),
    (28, "page_views_per_day", "numeric", True, _NO_LIST),
    (29, "days_since_last_email", "numeric", True, _NO_LIST),
    (30, "response_rate", "numeric", True, _NO_LIST),
    (OPT_IN, "optin", "singlechoice", False, YES_NO),
    (32, "status", "singlechoice", True, _NO_LIST),
    (33, "source", "singlechoice", True, _NO_LIST),
    (34, "form", "singlechoice", True, _NO_LIST),
    (35, "registration_language", "singlechoice", False, _NO_LIST),
    (36, "newsletter", "singlechoice", True, _NO_LIST),
    (37, "mobile", "shorttext", False, _NO_LIST),
    (38, "partner_first_name", "shorttext", False, _NO_LIST),
    (39, "partner_birth_date", "date", False, _NO_LIST),
    (40, "anniversary", "date", False, _NO_LIST),
    (41, "company_address", "longtext", False, _NO_LIST),
    (42, "company_zip_code", "shorttext", False, _NO_LIST),
    (43, "company_city", "shorttext", False, _NO_LIST),
    (44, "company_state", "shorttext", False, _NO_LIST),
    (45, "company_country", "singlechoice", False, COUNTRIES),
    (46, "salutation", "singlechoice", False, SALUTATIONS),
    (47, "email_valid", "singlechoice", True, _NO_LIST),
    (REGISTRATION_DATE, "registration_date", "date", True, _NO_LIST),
    (456, "do_not_track_me", "singlechoice", False, YES_NO),
    (457, "do_not_track_me_in_email", "singlechoice", False, YES_NO),
    (458, "ietf_language_tag", "shorttext", False, _NO_LIST),
)
