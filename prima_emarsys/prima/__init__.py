"""Reading the ERP: from a site's own tables to typed pages of the contract.

`sql` asks the database, `pages` is the door through which every row enters. Rules that need several tables do not
belong here (`rules/`), nor does anything that Emarsys wants.
"""
