"""The words of the made-up retailer: names, streets, brands, sites. All invented; domains end in `.example`.

Here belong pools of words and nothing that computes. No name stands for a real person, firm or address; telephone
numbers come from the ranges that the United Kingdom keeps free for drama, postcodes from areas that do not exist.
"""

from __future__ import annotations


def _listed(text: str, separator: str = " ") -> list[str]:
    return text.split(separator)


FEMALE = _listed(
    "Alice Amelia Beatrice Bridget Clara Daphne Edith Eleanor Esme Florence Freya Georgia Hannah Harriet Imogen Iris "
    "Isla Jasmine Judith Katherine Lydia Mabel Margaret Matilda Nadia Niamh Olive Pauline Phoebe Priya Rosalind Ruth "
    "Saoirse Shreya Sylvia Tamsin Una Verity Winifred Yasmin"
)
MALE = _listed(
    "Adam Alfred Arthur Basil Callum Cedric Desmond Dominic Edmund Ewan Felix Francis Gareth Gilbert Harold Hugh Idris "
    "Jasper Jerome Kwame Laurence Leopold Magnus Mohan Nigel Oscar Patrick Percival Quentin Rafael Rhys Rupert Samir "
    "Stanley Tariq Theodore Ulrich Victor Wilfred Zachary"
)
SURNAMES = _listed(
    "Abernethy Allardyce Ambrose Ashdown Attwater Babbington Barraclough Beckwith Bellweather Birtwhistle Blenkinsop "
    "Bottomley Brackenbury Braithwaite Broadbent Burnside Calloway Carmichael Cartwright Chatterley Clutterbuck "
    "Copperfield Crabtree Crowther Dalrymple Dewhurst Doolan Drinkwater Eastwick Entwistle Fairweather Farthing "
    "Featherstone Fernsby Fitzwarren Gathercole Goodfellow Greenhalgh Gullifer Hathersage Hebblethwaite Hollingbery "
    "Honeychurch Inglethorpe Jellicoe Kettlewell Kilbride Lanyon Larkspur Leatherbarrow Longbottom Loveday MacTavish "
    "Marchbanks Merryweather Micklethwait Millwater Nettlefold Nightingale Oglethorpe Okonjo Oldcastle Ormsby Paget "
    "Pemberton Penhaligon Pickersgill Postlethwaite Quayle Ramsbottom Ravenscroft Redfern Rowbotham Rushworth "
    "Sandalwood Satterthwaite Shackleton Sidebottom Silverwood Snodgrass Stackpoole Stonebridge Swithin Tattersall "
    "Thistlewood Threlfall Tolliver Trevanion Underhill Vavasour Wainscott Wetherby Wigglesworth Winterbourne "
    "Witherspoon Woolstencroft Yarborough Yelverton"
)
MAIL_DOMAINS = (
    "letterbox.example",
    "pillarbox.example",
    "postbag.example",
    "inbox.example",
    "mailcoach.example",
    "pigeon.example",
)
OWN_DOMAIN = "harrowby-shoes.example"
STREETS = _listed(
    "Mill Lane|Station Road|Church Street|The Crescent|Tanner's Yard|Cobbler's Row|Abbey Walk|Orchard Close|Kiln Lane|"
    "Bridge Street|Saddler's Way|Quarry Hill|Lower Green|Harbour View|Larch Avenue|Foundry Road|Chapel Rise|Old Drove|"
    "Maltings Court|Priory Gardens|Weaver's Fold|Windmill Road|Beacon Hill|Ferry Lane|Meadow Bank",
    "|",
)
HOUSES = _listed(
    "Rose Cottage|Flat 2|Flat 7b|The Old Dairy|Unit 4|First Floor|Ivy House|Apartment 12|Willow Barn|c/o Reception",
    "|",
)
TOWNS = _listed(
    "Harrowmere|Kettlewick|Aldersley|Thornby St Mary|Lower Wexcombe|Saltby-on-Sea|Marlinghurst|Great Tawton|Pennard|"
    "Ashenford|Wick Regis|Llanfaron|Strathmuir|Ballycorrin|Nether Bixley|Stourwell|Hexley Bridge|Cranholme|Overdale|"
    "Port Merrin",
    "|",
)
FOREIGN_TOWNS = ("Kleinbach", "Saint-Aubrac", "Vierhoven", "Cill Rua", "Oak Hollow", "Nordvik")
POST_AREAS = ("QA", "QE", "XH", "XN", "VB", "ZD", "JB", "QT")
POST_ENDS = _listed("AB AD BG DE EF FH GJ HL JN LP NQ PR RS SU UW WX XY YZ")
FOREIGN_COUNTRIES = ("IE", "DE", "FR", "US", "NL", "SE")
FIRMS = ("Boot Room", "Outfitters", "Workwear", "Shoe Company", "Country Stores", "Uniforms", "Leather Goods", "Hotels")
SOURCE_MEDIA = ("AWCAT", "SSCAT", "EMAIL", "PPC", "AFFIL", "SOCIAL", "PRESS")
PROMOTIONS = ("WELCOME10", "FRIEND15", "WINTER20")
CARRIERS = ("RM48", "RM24", "SD1")
RETURN_REASONS = ("SIZE", "FIT", "COLOUR", "FAULT", "MIND")

BRANDS = {
    "HARR": "Harrowby & Sons",
    "ALDR": "Aldersley",
    "WREN": "Wren & Pike",
    "LARC": "Little Larch",
    "KETT": "Kettlewick Care",
}
SHOE_NAMES = _listed(
    "Abbot Alder Barley Beacon Bramble Bracken Brogan Burnet Cavendish Chaffinch Clover Cobalt Copse Curlew Dalesman "
    "Dunlin Ember Fallow Fernhill Finch Garnet Gorse Hawthorn Heron Hobby Ivy Juniper Kestrel Lanner Larch Linnet "
    "Mallard Merlin Moor Nuthatch Osprey Otter Peregrine Pipit Plover Quill Redwing Rowan Rook Sedge Siskin Sorrel "
    "Teal Thrush Umber Vetch Wagtail Warren Whin Wren Yarrow"
)
COLOURS = {"BK": "Black", "BR": "Brown", "TN": "Tan", "BU": "Burgundy", "NV": "Navy", "ST": "Stone"}
